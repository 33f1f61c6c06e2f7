"""The formulas of the lessons in MathML, which browsers draw without any script or font."""

from __future__ import annotations

__all__ = ["FORMULAS"]


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _i(name: str) -> str:
    return f"<mi>{name}</mi>"


def _o(sign: str) -> str:
    return f"<mo>{sign}</mo>"


def _n(number: str) -> str:
    return f"<mn>{number}</mn>"


def _sub(base: str, index: str) -> str:
    return f"<msub>{_i(base)}{_row(*map(_i, index))}</msub>"


def _over(above: str, below: str) -> str:
    return f"<mfrac>{above}{below}</mfrac>"


def _sum(index: str) -> str:
    return f"<munder>{_o('∑')}{_row(*map(_i, index))}</munder>"


def _of(function: str, *parts: str) -> str:
    return _row(_i(function), "<mo>&#x2061;</mo>", _o("("), *parts, _o(")"))


def _math(*lines: str) -> str:
    """One formula a line, in a box of its own that scrolls where it is too narrow."""
    return "".join(f'<math display="block">{line}</math>' for line in lines)


_EQUALS, _PLUS, _COMMA = _o("="), _o("+"), _o(",")

FORMULAS = {
    # y_c = max(0, b_c + Σ_k w_ck ∗ x_k);  p_k = exp(z_k) / Σ_j exp(z_j)
    "sees": _math(
        _row(
            _sub("y", "c"), _EQUALS,
            _of("max", _n("0"), _COMMA, _sub("b", "c"), _PLUS, _sum("k"),
                _sub("w", "ck"), _o("∗"), _sub("x", "k")),
        ),
        _row(
            _sub("p", "k"), _EQUALS,
            _over(_of("exp", _sub("z", "k")), _row(_sum("j"), _of("exp", _sub("z", "j")))),
        ),
    ),
    # z_c = 1/N Σ_n x_cn;  s = σ(W₂ max(0, W₁ z));  y_cn = s_c x_cn
    "channel": _math(
        _row(_sub("z", "c"), _EQUALS, _over(_n("1"), _i("N")), _sum("n"), _sub("x", "cn")),
        _row(
            _i("s"), _EQUALS,
            _of("σ", _sub("W", "2"), _of("max", _n("0"), _COMMA, _sub("W", "1"), _i("z"))),
            _COMMA, _sub("y", "cn"), _EQUALS, _sub("s", "c"), _sub("x", "cn"),
        ),
    ),
    # m = σ(norm(w ∗ [mean_c x; max_c x]));  y_cn = m_n x_cn
    "spatial": _math(
        _row(
            _i("m"), _EQUALS,
            _of("σ", _of("norm", _i("w"), _o("∗"), _o("["),
                f"<munder>{_i('mean')}{_i('c')}</munder>", _i("x"), _o(";"),
                f"<munder>{_i('max')}{_i('c')}</munder>", _i("x"), _o("]"))),
        ),
        _row(_sub("y", "cn"), _EQUALS, _sub("m", "n"), _sub("x", "cn")),
    ),
    # A = softmax(q kᵀ / √d);  y = x + W_o A v
    "self": _math(
        _row(
            _i("A"), _EQUALS,
            _of("softmax", _over(_row(_i("q"), f"<msup>{_i('k')}{_i('⊤')}</msup>"),
                                 f"<msqrt>{_i('d')}</msqrt>")),
        ),
        _row(_i("y"), _EQUALS, _i("x"), _PLUS, _sub("W", "o"), _i("A"), _i("v")),
    ),
    # w_c = 1/N Σ_n ∂z_k/∂x_cn;  L_n = max(0, Σ_c w_c x_cn)
    "gradcam": _math(
        _row(
            _sub("w", "c"), _EQUALS, _over(_n("1"), _i("N")), _sum("n"),
            _over(_row(_o("∂"), _sub("z", "k")), _row(_o("∂"), _sub("x", "cn"))),
        ),
        _row(
            _sub("L", "n"), _EQUALS,
            _of("max", _n("0"), _COMMA, _sum("c"), _sub("w", "c"), _sub("x", "cn")),
        ),
    ),
    # y = x + γ (f(x) − x);  AUC = ∫₀¹ p_k(t) dt
    "meaning": _math(
        _row(
            _i("y"), _EQUALS, _i("x"), _PLUS, _i("γ"), _o("("), _of("f", _i("x")), _o("−"),
            _i("x"), _o(")"),
        ),
        _row(
            _i("AUC"), _EQUALS, f"<msubsup>{_o('∫')}{_n('0')}{_n('1')}</msubsup>",
            _sub("p", "k"), _o("("), _i("t"), _o(")"), _i("d"), _i("t"),
        ),
    ),
}  # fmt: skip
"""Each lesson's formulas by its key; the comment above each has it in plain text."""
