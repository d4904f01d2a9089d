"""Load on a running radsearch server: locust users, their measurements, and the verdict of an SLO.

Nothing here knows the other rooms; the server is met over HTTP only. ``commands`` is the command line,
``run`` the process that makes the load, ``users`` what one shopper does, ``recorder`` what was measured.
"""
