"""How a model learns: a session around the script's own loop, on one process or on many ranks.

::

    with train.session() as run:
        with run.init():
            model = Decoder(config)
        model = run.parallelize(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
        run.track(model=model, optimizer=optimizer)
        batches = run.batches(data.open("corpus"), global_batch=512, seed=7)
        for step in run.steps(batches, until="300 steps"):
            loss = step.backward(model, loss_fn)  # loss_fn(model, micro) -> (sum, count)
            optimizer.step()
            optimizer.zero_grad()
            run.log(loss=loss)
"""

from headrace.train.batches import Batches
from headrace.train.evaluation import Evaluation
from headrace.train.session import Phase, Session, session
from headrace.train.step import Micro, Step

__all__ = ["Batches", "Evaluation", "Micro", "Phase", "Session", "Step", "session"]
