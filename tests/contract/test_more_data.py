"""Jobs with several datasets, in every source that takes them, and the refusal of the others."""

from collections.abc import Callable

import pytest

from lib.errors import InvalidRequest
from lib.jobs.more_data import MoreData
from lib.jobs.query import JobQuery
from lib.sources.protocol import Action
from tests.contract.houses import House
from tests.contract.test_changing import request_for


def test_a_job_keeps_its_further_datasets_also_into_its_next_attempt(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE, Action.MORE_DATA, Action.CANCEL, Action.RETRY, Action.RETRY_IN_PLACE)
    dog, cat = house.put_dataset("Dog"), house.put_dataset("Cat")
    more = (MoreData(dataset_id=dog, repeats=5), MoreData(dataset_id=cat))
    job = house.source.create_job(request_for(house, more_data=more))
    kept = (MoreData(dataset_id=dog, name="Dog", repeats=5), MoreData(dataset_id=cat, name="Cat"))
    house.source.cancel_job(job.id)
    again = house.source.retry_job(job.id)
    (listed,) = house.source.list_jobs(JobQuery(search="dog")).jobs
    assert job.more_data == again.more_data == house.source.get_job(job.id).more_data == listed.more_data == kept
    assert house.source.create_job(request_for(house, "two")).more_data == ()


def test_every_job_of_a_sweep_has_them(house: House, able: Callable[..., None]) -> None:
    able(Action.SWEEP, Action.MORE_DATA)
    dog = house.put_dataset("Dog")
    request = request_for(house, more_data=(MoreData(dataset_id=dog),))
    jobs = house.source.create_sweep(request, {"network_dim": (4, 8)})
    assert [[each.name for each in job.more_data] for job in jobs] == [["Dog"], ["Dog"]]


@pytest.mark.parametrize("more", [MoreData(dataset_id="nobody"), MoreData(dataset_id="", repeats=0)])
def test_a_further_dataset_that_cannot_be_used_is_refused_by_name(
    house: House, able: Callable[..., None], more: MoreData
) -> None:
    able(Action.CREATE, Action.MORE_DATA)
    with pytest.raises(InvalidRequest) as refused:
        house.source.create_job(request_for(house, more_data=(more,)))
    assert "more_data" in refused.value.fields
    assert house.source.list_jobs(JobQuery()).total == 0


def test_the_same_dataset_twice_is_refused(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE, Action.MORE_DATA)
    with pytest.raises(InvalidRequest) as refused:
        house.source.create_job(request_for(house, more_data=(MoreData(dataset_id=house.dataset_id),)))
    assert "chosen twice" in refused.value.fields["more_data"]


def test_a_source_without_them_says_why_and_makes_no_job(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE)
    reason = house.source.reason_against(Action.MORE_DATA)
    if not reason:
        pytest.skip("It takes them.")
    request = request_for(house, more_data=(MoreData(dataset_id="another"),))
    assert reason in house.source.preview(request).problems
    with pytest.raises(InvalidRequest) as refused:
        house.source.create_job(request)
    assert refused.value.fields["more_data"] == reason
    assert house.source.list_jobs(JobQuery()).total == 0


def test_a_dataset_that_is_used_beside_another_is_not_deleted(house: House, able: Callable[..., None]) -> None:
    able(Action.CREATE, Action.MORE_DATA, Action.CANCEL, Action.RETRY, Action.CHANGE_DATASETS)
    dog = house.put_dataset("Dog")
    job = house.source.create_job(request_for(house, more_data=(MoreData(dataset_id=dog),)))
    for refused in (house.source.datasets.delete, lambda each: house.source.datasets.delete_image(each, "one.png")):
        with pytest.raises(InvalidRequest, match="is used by the job 'Aria v1'"):
            refused(dog)
    house.source.cancel_job(job.id)
    house.source.datasets.delete(dog)
    with pytest.raises(InvalidRequest, match="The dataset 'Dog' is gone, so the job cannot run again"):
        house.source.retry_job(job.id)
