"""The modelling core: networks, schedulers, conditioning, data, conversion and the zoo.

It knows nothing of pipelines, training or the web.
"""

if __name__ == "gen":
    raise ImportError("import earthgen.gen, not gen; run 'pip install -e .' in the checkout first")
