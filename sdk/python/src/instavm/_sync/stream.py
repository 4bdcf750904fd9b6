# Made by generate_sync.py from _async/stream.py: change that and run it again.
from __future__ import annotations

from collections.abc import Iterator, Callable
from time import monotonic
from types import TracebackType

import httpx

from ..events import EventDecoder, ExecutionEvent, ExitEvent, execution_event
from ..exceptions import DeadlineError, NetworkError
from ..results import ExecutionResult


class ExecutionStream:
    """The events of one execute as they come. Begins at the first one that is asked for; leaving it early closes it.

    After the last event `result` is how the code ended.
    """

    def __init__(self, open_response: Callable[[], httpx.Response], timeout_s: float) -> None:
        #: How the code ended; None until its exit came.
        self.result: ExecutionResult | None = None
        self._open = open_response
        self._timeout_s = timeout_s
        self._response: httpx.Response | None = None
        self._events = self._read()

    def __iter__(self) -> Iterator[ExecutionEvent]:
        return self

    def __next__(self) -> ExecutionEvent:
        return self._events.__next__()

    def __enter__(self) -> ExecutionStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops reading."""
        if self._response is not None:
            self._response.close()

    def _read(self) -> Iterator[ExecutionEvent]:
        # What the reader does between two events is not counted.
        waited_s = 0.0
        decoder: EventDecoder[ExecutionEvent] = EventDecoder(execution_event)
        self._response = self._open()
        try:
            asked_at = monotonic()
            for piece in self._response.iter_bytes():
                waited_s += monotonic() - asked_at
                for event in decoder.feed(piece):
                    if isinstance(event, ExitEvent):
                        self.result = event.result
                    yield event
                    if self.result is not None:
                        return
                if waited_s > self._timeout_s:
                    raise DeadlineError(f"The code's stream did not end within {self._timeout_s:g} s.")
                asked_at = monotonic()
        except httpx.TimeoutException as cause:
            raise DeadlineError(f"Nothing came on the code's stream for {self._timeout_s:g} s.") from cause
        except (httpx.HTTPError, httpx.StreamError) as cause:
            raise NetworkError(f"The code's stream broke: {cause or type(cause).__name__}.") from cause
        finally:
            self.close()
        raise NetworkError("The code's stream ended before the code did.", next="Run it again if that does no harm.")
