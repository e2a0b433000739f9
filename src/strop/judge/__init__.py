"""Programs in, verdicts out. A program influences its verdict only through the values it returns and what it uses."""
