"""Released checkpoints of other projects, turned into our model folders. The one place where pickles are opened, and never their code."""
