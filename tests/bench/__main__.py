"""The benchmarks: `python -m tests.bench.<name>`, each printing Markdown tables. Not run by pytest."""

import ast
from pathlib import Path

for path in sorted(Path(__file__).parent.glob("*.py")):
    text = path.read_text()
    if path.stem != "__main__" and 'if __name__ == "__main__":' in text:
        summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
        print(f"python -m tests.bench.{path.stem:8} {summary}")
