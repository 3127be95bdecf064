"""Links: when they end, which object they mean, how a download is named."""

from datetime import UTC, datetime, timedelta

import pytest

from lib.artifacts.presigned import content_disposition, frozen_link, key_in_bucket, link_end

SIGNED = "https://s3.test/assets/lora-training/a/x%20y.safetensors?X-Amz-Date=20261123T150700Z&X-Amz-Expires=604800"


def test_the_end_of_a_link_is_read_from_it() -> None:
    link = frozen_link(SIGNED)
    assert link is not None
    assert link.expires_at == datetime(2026, 11, 30, 15, 7, tzinfo=UTC)
    assert link.is_fresh(link.expires_at - timedelta(minutes=2))
    assert not link.is_fresh(link.expires_at - timedelta(seconds=30))
    assert "s3.test" not in repr(link)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "X-Amz-Date=20261123T150700Z",
        "X-Amz-Expires=60",
        "X-Amz-Date=x&X-Amz-Expires=60",
        "X-Amz-Date=20261123T150700Z&X-Amz-Expires=1e9",
        f"X-Amz-Date=20261123T150700Z&X-Amz-Expires={10**18}",
    ],
)
def test_a_link_that_does_not_say_when_it_ends(query: str) -> None:
    assert link_end(f"https://s3.test/a?{query}") is None


@pytest.mark.parametrize(
    "url", ["mock/loras/a", "javascript:alert(1)", "//x/y", "http://", "ftp://x/y", "http://[", None, 7]
)
def test_what_no_browser_should_open_is_no_link(url: object) -> None:
    assert frozen_link(url) is None


@pytest.mark.parametrize(
    ("url", "key"),
    [
        (SIGNED, "lora-training/a/x y.safetensors"),
        ("https://assets.s3.test/lora-training/a/x?sig=1", "lora-training/a/x"),
        ("https://s3.test/other/lora-training/a/x", None),
        ("https://s3.test/assets/", None),
        ("https://s3.test/", None),
    ],
)
def test_the_key_behind_a_link(url: str, key: str | None) -> None:
    assert key_in_bucket(url, "assets") == key


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a b.safetensors", 'attachment; filename="a b.safetensors"'),
        ("ключ.pt", "attachment; filename=\"____.pt\"; filename*=UTF-8''%D0%BA%D0%BB%D1%8E%D1%87.pt"),
        ('a"b;c.pt', "attachment; filename=\"a_b;c.pt\"; filename*=UTF-8''a%22b%3Bc.pt"),
        ("../a\\b\r\n.pt", 'attachment; filename=".._a_b__.pt"'),
        ("", 'attachment; filename="download"'),
    ],
)
def test_downloads_are_named_in_any_script_and_no_header_is_split(name: str, header: str) -> None:
    assert content_disposition(name) == header
