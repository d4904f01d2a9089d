"""The same shoppers for locust's own command line and page.

RADSEARCH_LOADTEST_URL=http://127.0.0.1:8000 locust -f loadtest/locustfile.py
"""

from loadtest.settings import LoadtestSettings
from loadtest.users import shopper

ConfiguredShopper = shopper(LoadtestSettings())
