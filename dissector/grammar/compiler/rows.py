"""Annotated rows: what a compiled reading leaves instead of a tree.

A row is a tuple: the number of a Form, then numbers and values. The Form says which nodes the tuple stands for (several
fields of fixed size are one row), what they are called, and which element of the tuple is whose offset and whose value.
So a reading makes a fraction of the objects of a tree, and ones that the garbage collector does not have to look at;
Nodes are made of the rows when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dissector.node import Node
from dissector.source import ByteSource

Row = tuple[Any, ...]


class Place(NamedTuple):
    """An offset: that in element `slot` of the row, plus a constant."""

    slot: int
    plus: int


class Slot(NamedTuple):
    """Something that stands in an element of the row."""

    slot: int


class Number(Slot):
    """A slot whose value is an integer, whatever the data are."""

    __slots__ = ()


class Call(NamedTuple):
    """A value made when it is looked at: a function of what stands in an element of the row."""

    function: Callable[[Any], Any]
    slot: int


class Begin(NamedTuple):
    """A structure begins. name: a Slot for rows and for the outermost structure, which the caller names."""

    name: str | Slot
    spec: str | Slot
    labeller: Any
    start: Place


class Leaf(NamedTuple):
    """A field without parts. value and labeller: a Slot, or what they are; a value may be a Call."""

    name: str | Slot
    spec: str
    labeller: Any
    start: Place
    end: Place
    value: Any


class Leaves(NamedTuple):
    """Rows without parts, `size` bytes each; their values are a list."""

    spec: str
    labeller: Any
    start: Place
    size: int
    values: Slot


class End(NamedTuple):
    """The structure that began last ends."""

    end: Place


Item = Begin | Leaf | Leaves | End


class Form:
    """What rows of one kind stand for: items in the order of the bytes. `make` adds their nodes to a tree."""

    __slots__ = ("_make", "items", "number")

    def __init__(self, items: tuple[Item, ...]) -> None:
        self.items = items
        self._make: Maker | None = None
        self.number = len(FORMS)
        FORMS.append(self)

    @property
    def make(self) -> Maker:
        if self._make is None:
            self._make = maker(self)
        return self._make


Maker = Callable[[Row, ByteSource, list[Node]], None]
"""Adds the nodes of a row to a tree. The list holds the nodes that are open, innermost last; the first is the parent of
the outermost."""


FORMS: list[Form] = []
"""All forms, by number. They belong to the grammar: how many there can be does not depend on data."""

MADE = -1
"""Instead of the number of a form: the row is (MADE, node), whose node was made by the interpreted reading."""


def maker(form: Form) -> Maker:
    """Write the function that makes the nodes of a form."""
    constants: dict[str, Any] = {"Node": Node}
    lines: list[str] = []

    def constant(value: Any) -> str:
        if value is None or isinstance(value, str | int):
            return repr(value)
        name = f"K{len(constants)}"
        constants[name] = value
        return name

    def text(value: Any) -> str:
        if isinstance(value, Call):
            return f"{constant(value.function)}(row[{value.slot}])"
        return f"row[{value.slot}]" if isinstance(value, Slot) else constant(value)

    def place(at: Place) -> str:
        return f"row[{at.slot}] + {at.plus}" if at.plus else f"row[{at.slot}]"

    def distance(start: Place, end: Place) -> str:
        if start.slot == end.slot:
            return str(end.plus - start.plus)
        plus = end.plus - start.plus
        return f"row[{end.slot}] - row[{start.slot}]" + (f" + {plus}" if plus > 0 else f" - {-plus}" if plus else "")

    inside: list[str] = []  # variables of the nodes that begin in this row and are open
    starts: list[Place] = []
    for number, item in enumerate(form.items):
        parent = inside[-1] if inside else "nodes[-1]"
        if isinstance(item, Leaf):
            lines.append(
                f"{parent}.children.append(Node({text(item.name)}, source, {place(item.start)}, "
                f"{distance(item.start, item.end)}, {text(item.value)}, [], {constant(item.spec)}, "
                f"{text(item.labeller)}, []))"
            )
        elif isinstance(item, Leaves):
            lines.append(f"at, children = {place(item.start)}, {parent}.children")
            lines.append(f"for index, value in enumerate(row[{item.values.slot}]):")
            lines.append(
                f"    children.append(Node(f'[{{index}}]', source, at + index * {item.size}, {item.size}, value, [], "
                f"{constant(item.spec)}, {text(item.labeller)}, []))"
            )
        elif isinstance(item, Begin):
            variable = f"n{number}"
            lines.append(
                f"{variable} = Node({text(item.name)}, source, {place(item.start)}, 0, None, [], "
                f"{text(item.spec)}, {text(item.labeller)}, [])"
            )
            lines.append(f"{parent}.children.append({variable})")
            inside.append(variable)
            starts.append(item.start)
        elif inside:
            lines.append(f"{inside.pop()}.length = {distance(starts.pop(), item.end)}")
        else:
            lines.append("node = nodes.pop()")
            lines.append(f"node.length = {place(item.end)} - node.offset")
    lines.extend(f"nodes.append({variable})" for variable in inside)
    body = "".join(f"    {line}\n" for line in lines)
    exec(compile(f"def make(row, source, nodes):\n{body}", "<nodes of rows>", "exec"), constants)
    made: Maker = constants["make"]
    return made


def nodes_of(rows: list[Row], source: ByteSource) -> list[Node]:
    """The nodes that rows stand for; those of a whole reading are one tree."""
    holder = Node("", source, 0)
    open_nodes = [holder]
    for row in rows:
        if row[0] == MADE:
            open_nodes[-1].children.append(row[1])
        else:
            FORMS[row[0]].make(row, source, open_nodes)
    return holder.children


class LazyNode(Node):
    """A node whose children are still rows. They are made when they are first looked at."""

    __slots__ = ("_rows",)

    def __init__(self, name: str, source: ByteSource, offset: int, end: int, rows: list[Row]) -> None:
        self.name, self.source, self.offset, self.length = name, source, offset, end - offset
        self.value, self.diagnostics, self.secret = None, [], False
        row = rows[0]
        first: Any = FORMS[row[0]].items[0]
        spec, labeller = first.spec, first.labeller
        self.spec = row[spec.slot] if type(spec) is Slot else spec
        self.labeller = row[labeller.slot] if type(labeller) is Slot else labeller
        self._rows: list[Row] | None = rows

    def __getattr__(self, name: str) -> Any:
        if name == "children" and self._rows is not None:
            (made,) = nodes_of(self._rows, self.source)
            self._rows = None
            self.children = made.children
            return made.children
        raise AttributeError(name)

    @property
    def rows(self) -> list[Row] | None:
        """The rows, as long as nobody has looked at the children."""
        return self._rows


def tree_of(rows: list[Row], source: ByteSource, name: str, offset: int, end: int) -> Node:
    """The tree of a whole reading, its children made when they are looked at."""
    number = rows[0][0]
    if number != MADE and type(FORMS[number].items[0]) is Begin:
        return LazyNode(name, source, offset, end, rows)
    (made,) = nodes_of(rows, source)
    return made
