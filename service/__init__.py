"""A bundle becomes an HTTP service. Read ``app.py`` first, then ``retriever.py``: a request goes one way.

No torch, no ``training``, no ``model_export`` in here: a bundle holds all that is needed.
"""
