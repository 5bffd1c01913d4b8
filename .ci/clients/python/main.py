"""Tests the client that openapi-python-client generates from the OpenAPI document. It
queries every list of a server that has loaded a file, and checks that the answers are
consistent. .ci/run generates the client.

    python main.py ADDRESS USER_ID
"""

import sys

from tally import Client
from tally.api.health import get_liveness, get_readiness
from tally.api.runs import get_run, list_run_files, list_run_logs, list_run_rejects, list_runs, request_run
from tally.api.transactions import (
    get_user_summary,
    list_summaries,
    list_top_users,
    list_totals,
    list_user_totals,
    list_user_transactions,
)
from tally.models import (
    ListRunRejectsOutcome,
    ListTopUsersBy,
    ListTotalsBy,
    ListUserTotalsBy,
    Problem,
    RejectOutcome,
    RunRequest,
)
from tally.types import UNSET

NOBODY = 2147483647  # has no transactions


def equal(what, got, want):
    if got != want:
        sys.exit(f"{what}: {got}, and not {want}")


def found(answer):
    """Returns the answer's body; ends the program if it is a problem."""
    if answer is None or isinstance(answer, Problem):
        sys.exit(f"no answer: {answer}")
    return answer


def every(operation, *path, **query):
    """Follows the cursors to the end."""
    items, cursor = [], UNSET
    while True:
        page = found(operation.sync(*path, client=client, cursor=cursor, **query))
        items += page.items
        cursor = page.next_cursor
        if not cursor or not page.items:  # a run's log has a cursor always
            return items


def total(items, count, amount):
    """Rounds the sum to the four decimals that amounts can have."""
    return sum(count(i) for i in items), round(sum(amount(i) for i in items), 4)


def totals(items):
    return total(items, lambda t: t.total_transactions, lambda t: t.total_amount)


address, user = sys.argv[1], int(sys.argv[2])
client = Client(base_url=address)

equal("alive", found(get_liveness.sync(client=client)).status, "alive")
equal("ready", found(get_readiness.sync(client=client)).status, "ready")

answer = get_user_summary.sync_detailed(user, client=client)
summary = found(answer.parsed)
whole = summary.total_transactions, round(summary.total_amount, 4)
again = get_user_summary.sync_detailed(user, client=client, if_none_match=answer.headers["ETag"])
equal("unchanged", again.status_code, 304)
rows = every(list_user_transactions, user, limit=3)
equal("transactions", total(rows, lambda _: 1, lambda t: t.amount), whole)
equal("a user's months", totals(every(list_user_totals, user, by=ListUserTotalsBy.MONTH)), whole)
equal("a user's days", totals(every(list_user_totals, user, limit=2)), whole)

several = found(list_summaries.sync(client=client, user_id=[NOBODY, user]))
equal("summaries", (several.items, several.missing), ([summary], [NOBODY]))
top = found(list_top_users.sync(client=client, by=ListTopUsersBy.TOTAL_TRANSACTIONS, limit=3)).items
equal("top users", [t.total_transactions for t in top], sorted((t.total_transactions for t in top), reverse=True))

files = []
for run in every(list_runs):
    equal("a run", found(get_run.sync(run.id, client=client)).id, run.id)
    read = every(list_run_files, run.id)
    rejects = every(list_run_rejects, run.id)
    equal("rejects", len(rejects), sum(f.read - f.loaded for f in read))
    conflicts = every(list_run_rejects, run.id, outcome=ListRunRejectsOutcome.CONFLICT)
    equal("conflicts", len(conflicts), sum(r.outcome == RejectOutcome.CONFLICT for r in rejects))
    if not every(list_run_logs, run.id):
        sys.exit(f"run {run.id} has no log")
    files += read
loaded = total(files, lambda f: f.loaded, lambda f: f.total_amount)
equal("months", totals(every(list_totals, by=ListTotalsBy.MONTH, limit=5)), loaded)

asked = found(request_run.sync(client=client))
equal("the same run", found(request_run.sync(client=client, body=RunRequest(asked.logical_date))).id, asked.id)
equal("no user", get_user_summary.sync(NOBODY, client=client).type_, "/problems/no-transactions")
equal("no limit", list_runs.sync(client=client, limit=0).errors[0].location, "query.limit")

print("the Python client agrees with the server")
