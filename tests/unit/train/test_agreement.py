from headrace.train.agreement import Agreement, Wish


def test_what_the_steps_have_carried_is_agreed_once() -> None:
    agreement = Agreement(None)
    agreement.hear(Wish.STOP)
    agreement.hear(Wish.SAVE)
    assert agreement.at_boundary(Wish.NOTHING) == Wish.STOP | Wish.SAVE
    assert agreement.at_boundary(Wish.NOTHING) == Wish.NOTHING


def test_a_step_that_carried_no_wish_leaves_nothing_to_do() -> None:
    agreement = Agreement(None)
    agreement.hear(Wish.NOTHING)
    assert agreement.at_boundary(Wish.STOP) == Wish.NOTHING


def test_a_boundary_to_which_nothing_was_carried_is_settled_on_the_spot() -> None:
    assert Agreement(None).at_boundary(Wish.STOP) == Wish.STOP
