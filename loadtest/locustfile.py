"""The same shoppers for locust's own command line and page.

RADSEARCH_LOADTEST_URL=http://127.0.0.1:8000 locust -f loadtest/locustfile.py

With RADSEARCH_LOADTEST_SHAPE set, users come and go by that shape, up to RADSEARCH_LOADTEST_USERS.
"""

from loadtest.settings import LoadtestSettings
from loadtest.users import shape_class, user_class

SETTINGS = LoadtestSettings()

ShopUserOfThisFile = user_class(SETTINGS)

if SETTINGS.shape != "constant":
    ShapeOfThisFile = shape_class(SETTINGS)
