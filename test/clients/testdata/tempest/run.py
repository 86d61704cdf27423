"""Runs a share of tempest's test modules: run.py SHARE SHARES MODULE...

The modules' classes are dealt out to the shares, so that several processes can work at
once, each with credentials of its own. Prints one JSON object a line for each test that
there is in its share, whatever became of it: a class that does not even start has its
reason told for each of its tests.
"""

import json
import sys
import types
import unittest

from tempest.lib.services.network import subnets_client

# It waits ten seconds before it deletes a subnet, for servers whose ports go slowly.
# Here they are gone when the answer is there, or the subnet's deletion fails.
subnets_client.time = types.SimpleNamespace(sleep=lambda _: None)


class Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.outcomes = {}  # of tests and of classes

    def note(self, test, outcome, detail=""):
        # A class that fails to be set up comes as "setUpClass (its.name)".
        name = plain(test.id())
        if "(" in name:
            name = name[name.index("(") + 1 : -1]
        if self.outcomes.get(name, ("passed",))[0] == "passed":
            self.outcomes[name] = (outcome, detail)

    def addSuccess(self, test):
        self.note(test, "passed")

    def addSkip(self, test, reason):
        self.note(test, "skipped", reason)

    def addFailure(self, test, err):
        self.note(test, "failed", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        self.note(test, "failed", self._exc_info_to_string(err, test))

    def addExpectedFailure(self, test, err):
        self.note(test, "failed", "an expected failure")

    def addUnexpectedSuccess(self, test):
        self.note(test, "failed", "an unexpected success")


def plain(name):
    # The attributes of a test come in brackets behind its name.
    return name.split("[")[0]


def tests(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from tests(t)
        else:
            yield t


def main():
    share, shares = int(sys.argv[1]), int(sys.argv[2])
    classes = {}
    for t in tests(unittest.defaultTestLoader.loadTestsFromNames(sys.argv[3:])):
        classes.setdefault(type(t), []).append(t)
    order = sorted(classes, key=lambda c: (-len(classes[c]), c.__module__, c.__name__))
    mine = [c for i, c in enumerate(order) if i % shares == share]
    result = Result()
    suite = unittest.TestSuite(t for c in mine for t in classes[c])
    names = [(plain(t.id()), "%s.%s" % (c.__module__, c.__name__)) for c in mine for t in classes[c]]
    suite.run(result)
    for name, cls in names:
        outcome, detail = result.outcomes.get(cls) or ("missing", "")
        own = result.outcomes.get(name)
        if own and (outcome != "failed" or own[0] == "failed"):
            outcome, detail = own
        print(json.dumps({"test": name, "outcome": outcome, "detail": detail}), flush=True)


main()
