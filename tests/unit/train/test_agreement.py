from headrace.train.agreement import Agreement, Wish


def test_alone_a_wish_is_agreed_at_the_next_boundary_and_only_there() -> None:
    agreement = Agreement(None)
    assert agreement.read() == Wish.NOTHING
    agreement.launch(Wish.STOP | Wish.SAVE)
    assert agreement.read() == Wish.STOP | Wish.SAVE
    assert agreement.read() == Wish.NOTHING
