# ruff: noqa: E501
"""Forty programs for eight problems, labelled by hand with the algorithm that each uses."""

PROGRAMS: dict[str, list[tuple[str, str]]] = {
    "fibonacci": [
        ("recursion", "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)"),
        ("recursion", "def f(k):\n    if k <= 1:\n        return k\n    return f(k - 2) + f(k - 1)"),
        ("loop", "def f(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a"),
        ("loop", "def f(n):\n    x = 0\n    y = 1\n    for i in range(n):\n        t = x + y\n        x = y\n        y = t\n    return x"),
        ("table", "def f(n):\n    t = [0, 1] + [0] * n\n    for i in range(2, n + 1):\n        t[i] = t[i - 1] + t[i - 2]\n    return t[n]"),
    ],
    "duplicates": [
        ("hash", "def f(xs):\n    return len(set(xs)) < len(xs)"),
        ("hash", "def f(items):\n    seen = set()\n    return len(set(items)) != len(items)"),
        ("sort", "def f(xs):\n    ys = sorted(xs)\n    for a, b in zip(ys, ys[1:]):\n        if a == b:\n            return True\n    return False"),
        ("sort", "def f(xs):\n    xs.sort()\n    for i in range(len(xs) - 1):\n        if xs[i] == xs[i + 1]:\n            return True\n    return False"),
        ("pairs", "def f(xs):\n    for i in range(len(xs)):\n        for j in range(i):\n            if xs[i] == xs[j]:\n                return True\n    return False"),
    ],
    "palindrome": [
        ("reverse", "def f(s):\n    return s == s[::-1]"),
        ("reverse", "def f(text):\n    back = text[::-1]\n    return back == text"),
        ("pointers", "def f(s):\n    i, j = 0, len(s) - 1\n    while i < j:\n        if s[i] != s[j]:\n            return False\n        i += 1\n        j -= 1\n    return True"),
        ("pointers", "def f(s):\n    left = 0\n    right = len(s) - 1\n    while left < right:\n        if s[left] != s[right]:\n            return False\n        left, right = left + 1, right - 1\n    return True"),
        ("recursion", "def f(s):\n    return len(s) < 2 or (s[0] == s[-1] and f(s[1:-1]))"),
    ],
    "prime": [
        ("trial", "def f(n):\n    if n < 2:\n        return False\n    for d in range(2, n):\n        if n % d == 0:\n            return False\n    return True"),
        ("trial", "def f(n):\n    return n > 1 and all(n % d for d in range(2, n))"),
        ("root", "def f(n):\n    if n < 2:\n        return False\n    d = 2\n    while d * d <= n:\n        if n % d == 0:\n            return False\n        d += 1\n    return True"),
        ("sieve", "def f(n):\n    mark = [True] * (n + 1)\n    for p in range(2, n + 1):\n        for m in range(2 * p, n + 1, p):\n            mark[m] = False\n    return n > 1 and mark[n]"),
        ("sieve", "def f(n):\n    flags = [1] * (n + 2)\n    for a in range(2, n + 1):\n        if flags[a]:\n            for b in range(a * a, n + 1, a):\n                flags[b] = 0\n    return n >= 2 and bool(flags[n])"),
    ],
    "search": [
        ("linear", "def f(xs, x):\n    for i, y in enumerate(xs):\n        if x == y:\n            return i\n    return -1"),
        ("linear", "def f(xs, x):\n    for i in range(len(xs)):\n        if xs[i] == x:\n            return i\n    return -1"),
        ("bisect", "def f(xs, x):\n    lo, hi = 0, len(xs)\n    while lo < hi:\n        mid = (lo + hi) // 2\n        if xs[mid] < x:\n            lo = mid + 1\n        else:\n            hi = mid\n    return lo if lo < len(xs) and xs[lo] == x else -1"),
        ("bisect", "def f(a, t):\n    low = 0\n    high = len(a) - 1\n    while low <= high:\n        m = (low + high) // 2\n        if a[m] == t:\n            return m\n        if a[m] < t:\n            low = m + 1\n        else:\n            high = m - 1\n    return -1"),
        ("hash", "def f(xs, x):\n    where = {y: i for i, y in enumerate(xs)}\n    return where.get(x, -1)"),
    ],
    "anagram": [
        ("sort", "def f(a, b):\n    return sorted(a) == sorted(b)"),
        ("sort", "def f(one, two):\n    x = sorted(one)\n    y = sorted(two)\n    return x == y"),
        ("count", "from collections import Counter\ndef f(a, b):\n    return Counter(a) == Counter(b)"),
        ("count", "import collections\ndef f(s, t):\n    return collections.Counter(s) == collections.Counter(t)"),
        ("try all", "from itertools import permutations\ndef f(a, b):\n    return any(list(p) == list(b) for p in permutations(a))"),
    ],
    "total": [
        ("loop", "def f(n):\n    t = 0\n    for i in range(n + 1):\n        t += i\n    return t"),
        ("loop", "def f(n):\n    return sum(range(n + 1))"),
        ("formula", "def f(n):\n    return n * (n + 1) // 2"),
        ("formula", "def f(count):\n    return (count * count + count) // 2"),
        ("recursion", "def f(n):\n    return 0 if n == 0 else n + f(n - 1)"),
    ],
    "bits": [
        ("text", "def f(n):\n    return bin(n).count('1')"),
        ("text", "def f(x):\n    digits = bin(x)\n    return digits.count('1')"),
        ("shift", "def f(n):\n    c = 0\n    while n:\n        c += n & 1\n        n >>= 1\n    return c"),
        ("shift", "def f(n):\n    ones = 0\n    while n > 0:\n        n &= n - 1\n        ones += 1\n    return ones"),
        ("division", "def f(n):\n    c = 0\n    while n:\n        c += n % 2\n        n //= 2\n    return c"),
    ],
}  # fmt: skip
