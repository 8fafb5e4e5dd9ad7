"""What a ROP definition is, and the fields that ROPs share [MS-OXCROPS] 2.2.2.

A response has several forms (success, failure, redirect, null destination), told apart by its ReturnValue. Each form
is a whole Layout of its own, so that trees stay flat; RopDef.response_layout() picks one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType

from construct import Construct, Renamed, this

from dissector.grammar.layouts import Count, Fixed, Layout, Rows, Sized, SizeOf, When
from dissector.grammar.leaves import U8, U16, Data, Enumerated, ErrorCode

SUCCESS = 0
NULL_DESTINATION = 0x00000503
"""ReturnValue of a copy or move whose destination handle was null: the response has a DestHandleIndex of 4 bytes."""
WRONG_SERVER = 0x00000478
"""ReturnValue of a RopLogon that names the server to ask instead."""
SERVER_BUSY = 0x00000480

FORMS = {NULL_DESTINATION: "null destination", WRONG_SERVER: "redirect", SERVER_BUSY: "server busy"}
"""What the response forms of one ReturnValue are called in trees."""


@dataclass(frozen=True, slots=True)
class RopDef:
    """One remote operation.

    request: layout from the RopId on, or None for response-only ROPs (RopNotify) and for those without a published
    layout (known is False then).
    responses: layouts by ReturnValue, from the RopId on; None is the key of every other ReturnValue (failure). Empty
    where the ROP has no response (RopRelease). A ROP without ReturnValue (RopNotify) has its only layout under SUCCESS
    and has_return_value False.
    response_id: the RopId of the response, which differs from the request's in one case (RopGetMessageStatus).
    short_failure: a failure layout that some servers send instead (without the trailing fields).
    handles: request fields that index the handle table for reading; output: the field that is filled by the response.
    index: the name of the response field that echoes an index (byte 1 of the response).
    opens: what kind of object the output handle is ("folder", "message", "table", "stream", "sync-download", ...).
    summary: names of the request and response fields that tell most in one line; a dot leads into a structure.
    params: names of the arguments the layouts need from the session (see session.roplist); codepage and named go to
    every layout.
    where: file:line of the definition. note: what to know before trusting the layout.
    """

    rop_id: int
    name: str
    spec: str
    request: Layout | None
    responses: Mapping[int | None, Construct]
    short_failure: Layout | None = None
    handles: tuple[str, ...] = ()
    output: str | None = None
    index: str | None = None
    opens: str | None = None
    summary: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    has_return_value: bool = True
    where: str = field(default="", compare=False)
    response_id: int = -1
    note: str = ""

    def __post_init__(self) -> None:
        if self.response_id < 0:
            object.__setattr__(self, "response_id", self.rop_id)

    @property
    def known(self) -> bool:
        """Whether any layout is known; without one the bytes behind the RopId can only be shown raw."""
        return self.request is not None or bool(self.responses)

    def response_layout(self, return_value: int) -> Construct | None:
        return self.responses.get(return_value, self.responses.get(None))


def rop(
    rop_id: int,
    name: str,
    spec: str,
    *fields: Renamed,
    handles: tuple[str, ...] | str = "InputHandleIndex",
    output: str | None = None,
    index: str | None = None,
    success: tuple[Renamed, ...] = (),
    warnings: tuple[int, ...] = (),
    failure: tuple[Renamed, ...] | None = None,
    short_failure: bool = False,
    other: Mapping[int, tuple[Renamed, ...]] | None = None,
    leading: tuple[Renamed, ...] | None = None,
    no_response: bool = False,
    opens: str | None = None,
    summary: tuple[str, ...] = (),
    params: tuple[str, ...] = (),
    response_id: int | None = None,
    note: str = "",
) -> RopDef:
    """A ROP of the usual form.

    spec: its section in [MS-OXCROPS], e.g. "2.2.4.1". fields: the request's own fields, behind RopId, LogonId and the
    handle indexes (handles, then output). leading: all request fields behind LogonId, where their order is another.
    success: the response's fields behind ReturnValue; failure: the same for any other ReturnValue (none by default;
    `short_failure` tells that some servers leave them out); warnings: ReturnValues that carry the success fields;
    other: fields for one ReturnValue each. response_id: the RopId of the response where it is not rop_id.
    """
    sections = (f"{spec}.1", f"{spec}.2") if spec.count(".") == 3 else (spec, spec)
    names = (handles,) if isinstance(handles, str) else handles
    echoed = index or output or (names[0] if names else None)
    rop_id_field = "RopId" / Fixed(Enumerated(U8, "RopId"), rop_id)
    if leading is None:
        leading = tuple(one / U8 for one in (*names, *((output,) if output else ())))
    request = Layout(
        rop_id_field,
        "LogonId" / Fixed(U8, 0),
        *leading,
        *fields,
        name=f"{name} request",
        spec=f"MS-OXCROPS {sections[0]}",
    )

    response_id_field = rop_id_field
    if response_id is not None:
        response_id_field = "RopId" / Fixed(Enumerated(U8, "RopId"), response_id)

    def response(form: str, extra: tuple[Renamed, ...]) -> Layout:
        label = f"{name} response" + (f" ({form})" if form else "")
        head = (response_id_field, str(echoed) / U8, "ReturnValue" / Fixed(ErrorCode, 0))
        return Layout(*head, *extra, name=label, spec=f"MS-OXCROPS {sections[1]}")

    responses: dict[int | None, Construct] = {}
    if not no_response:
        responses[SUCCESS] = response("", success)
        responses.update(dict.fromkeys(warnings, responses[SUCCESS]))
        responses.update({code: response(FORMS.get(code, ""), extra) for code, extra in (other or {}).items()})
        responses[None] = response("failure", failure or ())
    frame = sys._getframe(1)
    return RopDef(
        rop_id=rop_id,
        name=name,
        spec=f"MS-OXCROPS {spec}",
        request=request,
        responses=responses,
        short_failure=response("failure", ()) if short_failure else None,
        handles=names,
        output=output,
        index=None if no_response else echoed,
        opens=opens,
        summary=summary,
        params=params,
        where=_where(frame),
        response_id=rop_id if response_id is None else response_id,
        note=note,
    )


def unpublished(rop_id: int, name: str) -> RopDef:
    """A ROP that has a name and no published layout."""
    note = "no layout is published"
    return RopDef(
        rop_id, name, "MS-OXCROPS 2.2.2", request=None, responses={}, where=_where(sys._getframe(1)), note=note
    )


def _where(frame: FrameType) -> str:
    """file:line of a definition, from the project's root."""
    return f"dissector/{frame.f_code.co_filename.rsplit('/dissector/', 1)[-1]}:{frame.f_lineno}"


def response_only(
    rop_id: int, name: str, spec: str, *fields: Renamed, summary: tuple[str, ...] = (), params: tuple[str, ...] = ()
) -> RopDef:
    """What a server sends of its own accord: no request, no handle index, no ReturnValue (RopNotify, RopBackoff).

    fields: all that stands behind RopId.
    """
    rop_id_field = "RopId" / Fixed(Enumerated(U8, "RopId"), rop_id)
    frame = sys._getframe(1)
    return RopDef(
        rop_id=rop_id,
        name=name,
        spec=f"MS-OXCROPS {spec}",
        request=None,
        responses={SUCCESS: Layout(rop_id_field, *fields, name=f"{name} response", spec=f"MS-OXCROPS {spec}.1")},
        summary=summary,
        params=params,
        has_return_value=False,
        where=_where(frame),
    )


def counted(count: str, name: str, row: Construct, width: Construct = U16) -> tuple[Renamed, Renamed]:
    """Two fields: the count, and that many rows."""
    return count / Count(width, name), name / Rows(this[count], row)


def counted_bytes(size: str, name: str, width: Construct = U16) -> tuple[Renamed, Renamed]:
    """Two fields: the size, and that many opaque bytes."""
    return size / SizeOf(width, name), name / Data(this[size])


def sized(size: str, name: str, subcon: Construct, width: Construct = U16) -> tuple[Renamed, Renamed]:
    """Two fields: the size, and a structure in that many bytes."""
    return size / SizeOf(width, name), name / Sized(this[size], subcon)


def sized_unless_empty(size: str, name: str, subcon: Construct, width: Construct = U16) -> tuple[Renamed, Renamed]:
    """Two fields: the size, and a structure in that many bytes that is not there (None) when the size is 0."""
    return size / SizeOf(width, name), name / When(this[size], Sized(this[size], subcon))
