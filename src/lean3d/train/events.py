"""The curves of a run for TensorBoard."""

import io
from collections.abc import Sequence
from typing import Any

from lean3d.optional import require

__all__ = ["tensorboard_events"]


def tensorboard_events(rows: Sequence[dict[str, Any]], times: Sequence[float]) -> bytes:
    """Return an event file with every number of `rows` at the step of its epoch.

    The whole file is built in memory for each epoch. TensorBoard's own writer uses a thread, which
    on a full disk ends in tracebacks, or blocks forever.

    Args:
        times: Time of each row, in seconds since 1970.
    """
    proto = require("tensorboard.compat.proto.event_pb2", extra="train")
    records = require("tensorboard.summary.writer.record_writer", extra="train")
    stream = io.BytesIO()
    writer = records.RecordWriter(stream)
    first = times[0] if times else 0.0
    writer.write(proto.Event(wall_time=first, file_version="brain.Event:2").SerializeToString())
    for row, wall_time in zip(rows, times, strict=True):
        event = proto.Event(wall_time=wall_time, step=row["epoch"])
        for name, value in row.items():
            if name != "epoch":
                event.summary.value.add(tag=name, simple_value=value)
        writer.write(event.SerializeToString())
    return stream.getvalue()
