"""The web app and the demonstration that `make demo` runs."""

if __name__ == "demos":
    raise ImportError("import earthgen.demos, not demos; run 'pip install -e .' in the checkout first")
