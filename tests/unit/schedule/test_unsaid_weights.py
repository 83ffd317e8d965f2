"""Fair share where the site gives no weights."""

from headrace.schedule.cluster import Cluster, Tres, Weights
from headrace.schedule.orders.multifactor import FairShare, weighs


def test_a_site_without_weights_is_ordered_by_fair_share_first() -> None:
    weights = FairShare(Cluster(nodes=())).multifactor.weights
    assert weights.fairshare > weights.qos > weights.age > 0


def test_weights_that_were_given_stand_as_they_are() -> None:
    given = Weights(age=7)
    assert FairShare(Cluster(nodes=(), weights=given)).multifactor.weights == given


def test_a_weight_of_a_resource_is_a_weight() -> None:
    assert weighs(Weights(tres=Tres(gpu=2.0)))
    assert not weighs(Weights(max_age_s=60.0))
