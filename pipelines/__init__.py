"""Conditions in, georeferenced pictures out: one file a pipeline."""

if __name__ == "pipelines":
    raise ImportError("import earthgen.pipelines, not pipelines; run 'pip install -e .' in the checkout first")
