"""CephFS's virtual extended attributes, as records. Pure. Source: its page "File layouts"."""

import re

from headrace.cluster.storage.sizes import parse_number
from headrace.cluster.storage.storage import Component, Layout

FILE_LAYOUT, FOLDER_LAYOUT = "ceph.file.layout", "ceph.dir.layout"


def parse_layout(text: str, *, default: bool) -> Layout | None:
    """ "stripe_unit=4194304 stripe_count=1 object_size=4194304 pool=cephfs_data"."""
    fields = dict(re.findall(r"(\w+)=(\S+)", text))
    count = parse_number(fields.get("stripe_count", ""))
    size_bytes = parse_number(fields.get("stripe_unit", ""))
    if count is None or size_bytes is None:
        return None
    part = Component(count=count, size_bytes=size_bytes, pool=fields.get("pool"))
    return Layout(components=(part,), default=default)
