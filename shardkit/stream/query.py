"""``where``: a condition in Python's syntax, evaluated over the columns of the index by Arrow.

It is parsed, never executed: names are columns, and what may stand in a condition is listed in ``_COMPARE``,
``_ARITHMETIC`` and ``_METHODS``. A missing value makes a comparison false.
"""

import ast
import difflib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.stream.columns import Columns

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: pc.add_checked,
    ast.Sub: pc.subtract_checked,
    ast.Mult: pc.multiply_checked,
    ast.Div: lambda left, right: pc.divide(pc.cast(left, pa.float64()), pc.cast(right, pa.float64())),
}
_TYPE_FAULTS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)
_METHODS: dict[str, Callable[..., Any]] = {
    "startswith": lambda text, part: pc.starts_with(text, pattern=part),
    "endswith": lambda text, part: pc.ends_with(text, pattern=part),
}
# What other languages write, by what it looks like in a condition that Python can't parse.
_HINTS = {
    r"===|(?<![=!<>])=(?!=)": "write == to compare",
    r"<>": "write != for 'not equal'",
    r"&|\|": "write and, or",
    r"\b(AND|OR|NOT|IN|IS)\b": "write and, or, not, in, is in lower case",
    r"(?i)\blike\b": "write .startswith('…') or .endswith('…')",
    r"(?i)\bbetween\b": "write 1 < duration_s <= 3",
    r"!(?!=)": "write not",
}
_ALLOWED = (
    "columns, numbers, 'text', True/False/None, == != < <= > >=, in, not in, and, or, not, + - * /, .startswith()"
)


_NONE = "None goes with ==, !=, is and is not only; a missing value meets no other comparison"


def matching_rows(table: Columns, condition: str) -> NDArray[np.bool_]:
    """Return which rows of the table meet the condition.

    Args:
        table: The columns of the rows.
        condition: Such as ``duration_s >= 2 and lang == 'en'`` or ``'dog' in labels``.

    Raises:
        InputError: Not a condition, an unknown column, or types that can't be compared.
    """
    try:
        tree = ast.parse(condition.strip(), mode="eval")
    except (SyntaxError, ValueError) as err:  # ValueError: a NUL character
        raise InputError(f"where({condition!r}): {_syntax_fault(condition, err)}") from err
    try:
        result = _Evaluator(table, condition).visit(tree.body)
    except _TYPE_FAULTS as err:
        raise InputError(f"where({condition!r}): these types can't be compared: {err}") from err
    except (AttributeError, TypeError, OverflowError, RecursionError) as err:
        raise InputError(f"where({condition!r}): not a condition over the columns: {err}; use {_ALLOWED}") from err
    if isinstance(result, pa.Scalar | bool):
        result = pa.array([bool(result)] * len(table))
    if not hasattr(result, "type") or not pa.types.is_boolean(result.type):
        raise InputError(f"where({condition!r}): not a condition; write one like \"duration_s >= 2 and lang == 'en'\"")
    return np.asarray(pc.fill_null(result, False).to_numpy(zero_copy_only=False), dtype=bool)


def _syntax_fault(condition: str, err: SyntaxError | ValueError) -> str:
    if not condition.strip():
        return "nothing to meet; write a condition like \"duration_s >= 2 and lang == 'en'\""
    hint = next((f"; {hint}" for pattern, hint in _HINTS.items() if re.search(pattern, condition)), "")
    place = f" at character {err.offset}" if isinstance(err, SyntaxError) else ""
    return f"{getattr(err, 'msg', err)}{place}{hint}"


class _Evaluator(ast.NodeVisitor):
    """Evaluates one condition; each ``visit_`` returns an Arrow column, a constant or a list of constants."""

    def __init__(self, table: Columns, condition: str) -> None:
        self._table = table
        self._condition = condition

    def generic_visit(self, node: ast.AST) -> Any:
        text = ast.unparse(node)
        raise InputError(f"where({self._condition!r}): {text!r} is not allowed; use {_ALLOWED}")

    def visit_Constant(self, node: ast.Constant) -> Any:  # the names are those ast.NodeVisitor looks for
        return node.value

    def visit_Name(self, node: ast.Name) -> Any:
        names = [name for name in self._table.column_names if name != "fields"]
        if node.id not in names:
            near = difflib.get_close_matches(node.id, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(f"where({self._condition!r}): no column {node.id!r}; {hint}there is {', '.join(names)}")
        return self._table.column(node.id)

    def visit_List(self, node: ast.List | ast.Tuple | ast.Set) -> Any:
        return [self.visit(item) for item in node.elts]

    visit_Tuple = visit_List  # noqa: N815
    visit_Set = visit_List  # noqa: N815

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        combine = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        result = self._truth(node.values[0])
        for value in node.values[1:]:
            result = combine(result, self._truth(value))
        return result

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return pc.invert(self._truth(node.operand))
        operand = self.visit(node.operand)
        if isinstance(node.op, ast.USub):
            return pc.negate(operand) if hasattr(operand, "type") else -operand
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        apply = _ARITHMETIC.get(type(node.op))
        if apply is None:
            return self.generic_visit(node)
        left, right = self.visit(node.left), self.visit(node.right)
        if left is None or right is None:
            raise self._fault(node, _NONE)
        return apply(left, right)

    def visit_Call(self, node: ast.Call) -> Any:
        if not isinstance(node.func, ast.Attribute) or node.func.attr not in _METHODS or len(node.args) != 1:
            return self.generic_visit(node)
        part = self.visit(node.args[0])
        if not isinstance(part, str):
            return self.generic_visit(node)
        return _METHODS[node.func.attr](self.visit(node.func.value), part)

    def visit_Compare(self, node: ast.Compare) -> Any:
        result: Any = None
        left = self.visit(node.left)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.visit(right_node)
            try:
                part = self._compare(left, op, right, node)
            except _TYPE_FAULTS as err:
                types = " and ".join(_type_name(value) for value in (left, right))
                raise self._fault(node, f"these types can't be compared: {types}") from err
            result = part if result is None else pc.and_kleene(result, part)
            left = right
        return result

    def _compare(self, left: Any, op: ast.cmpop, right: Any, node: ast.Compare) -> Any:
        if isinstance(op, ast.In | ast.NotIn):
            found = self._contains(left, right, node)
            return found if isinstance(op, ast.In) else pc.invert(found)
        if left is None or right is None:
            return self._compare_none(right if left is None else left, op, node)
        if isinstance(op, ast.Is | ast.IsNot):
            raise self._fault(node, "'is' is for None; write == or !=")
        if _is_list(left) or _is_list(right):
            raise self._fault(node, "lists are not compared; ask for one value with 'dog' in labels")
        return _COMPARE[type(op)](left, right)

    def _compare_none(self, value: Any, op: ast.cmpop, node: ast.Compare) -> Any:
        if isinstance(op, ast.Is | ast.Eq):
            return pc.is_null(value)
        if isinstance(op, ast.IsNot | ast.NotEq):
            return pc.is_valid(value)
        raise self._fault(node, _NONE)

    def _contains(self, left: Any, right: Any, node: ast.Compare) -> Any:
        if left is None or (isinstance(right, list) and None in right):
            raise self._fault(node, _NONE)
        if isinstance(right, list) and hasattr(left, "type"):
            found = pc.is_in(left, value_set=pa.array(right, type=left.type))
            return pc.if_else(pc.is_valid(left), found, pa.scalar(None, pa.bool_()))
        if hasattr(right, "type") and pa.types.is_list(right.type) and not hasattr(left, "type"):
            return _list_contains(right, left)
        raise self._fault(
            node, "'in' needs a list on its right, lang in ['en', 'de'], or a column of lists, 'dog' in labels"
        )

    def _truth(self, node: ast.expr) -> Any:
        """Return a part that 'and', 'or' and 'not' can take."""
        value = self.visit(node)
        if isinstance(value, bool) or (hasattr(value, "type") and pa.types.is_boolean(value.type)):
            return value
        raise self._fault(node, "not a condition; compare it with something")

    def _fault(self, node: ast.AST, what: str) -> InputError:
        text = ast.unparse(node)
        part = "" if text == self._condition.strip() else f"{text!r}: "
        return InputError(f"where({self._condition!r}): {part}{what}")


def _is_list(value: Any) -> bool:
    return isinstance(value, list) or (hasattr(value, "type") and pa.types.is_list(value.type))


def _type_name(value: Any) -> str:
    """Return what a person calls the type of a column or a constant."""
    return str(value.type) if hasattr(value, "type") else f"{value!r} ({type(value).__name__})"


def _list_contains(lists: pa.ChunkedArray, value: Any) -> pa.Array:
    """Return for each row whether its list holds ``value``."""
    column = lists.combine_chunks()
    hits = np.zeros(len(column), dtype=bool)
    parents = pc.list_parent_indices(column).to_numpy()
    found = pc.fill_null(pc.equal(pc.list_flatten(column), value), False).to_numpy(zero_copy_only=False)
    hits[parents[found]] = True
    return pa.array(hits)
