"""Decode in a thread while the model computes, and drop old frames if it is too slow."""

import threading
import time
from collections import deque
from collections.abc import Iterator

from lean3d.data.frames import Frame, FrameSource

__all__ = ["Prefetch"]


class Prefetch:
    """The frames of a source, read ahead into a queue of bounded length.

    Without dropping, the thread waits while the queue is full. Otherwise a new frame replaces the
    oldest, which is counted: frames are then at most `capacity` frames old.

    An error of the source is raised at the position of its frame.

    Args:
        drop_oldest: Needed by a live source, which does not wait; by default, if it is live.
        pace: Give frames no sooner than their times, as a camera would.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        capacity: int = 4,
        drop_oldest: bool | None = None,
        pace: bool = False,
    ):
        self.source, self.pace = source, pace
        self.drop_oldest = source.live if drop_oldest is None else drop_oldest
        self.dropped = 0
        self._capacity, self._queue = capacity, deque[Frame]()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, name=source.name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.take()) is not None:
            yield frame

    def take(self) -> Frame | None:
        """Wait for the oldest frame; None at the end.

        Raises:
            Exception: whatever the source raised, after the frames before it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ended)
            if self._queue:
                self._changed.notify_all()
                return self._queue.popleft()
            if self._error is not None:
                raise self._error
            return None

    def close(self) -> None:
        """Stop reading; the thread ends after the frame it is reading."""
        with self._changed:
            self._ended = self._closed = True
            self._queue.clear()
            self._changed.notify_all()
        # a camera without frames must not keep the program alive
        self._thread.join(timeout=1.0)

    def _fill(self) -> None:
        error: BaseException | None = None
        started = time.monotonic()
        try:
            for frame in self.source:
                if self.pace:
                    time.sleep(max(started + frame.seconds - time.monotonic(), 0))
                if not self._put(frame):
                    break
        except BaseException as raised:  # any error is raised again for the consumer of the frames
            error = raised
        finally:
            self.source.close()
            with self._changed:
                self._ended, self._error = True, error
                self._changed.notify_all()

    def _put(self, frame: Frame) -> bool:
        """Whether frames are still wanted."""
        with self._changed:
            if self.drop_oldest and len(self._queue) == self._capacity:
                self._queue.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: len(self._queue) < self._capacity or self._closed)
            if not self._closed:
                self._queue.append(frame)
                self._changed.notify_all()
            return not self._closed
