"""What every test has in common.

The examples of property tests are the same at each run, so that a change is judged by what it
changes; ``--hypothesis-profile fresh`` draws new ones, and more (``make chaos`` does).
"""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("fresh", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile("repeatable")
