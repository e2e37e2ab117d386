#!/usr/bin/env bash
# Calls the API of a running service, and checks each answer. Left out are only calls that send
# messages, make backups or need an alert.
#
#   ./test_api.sh [BASE_URL]       default: $API_URL, else http://localhost:8000
#
# API_KEY is sent where it is set; it needs the scope admin. What the checks store they erase again,
# but for one plan, which is undone. Needs curl and python3. Exit status: 0 all well, 1 a wrong answer, 2 no service,
# or none that takes the key.

set -u

BASE=${1:-${API_URL:-http://localhost:8000}}
BASE=${BASE%/}
API=$BASE/api/v1
WAIT_SECONDS=${WAIT_SECONDS:-60}
MARK=test-api-$$-$RANDOM$RANDOM
TMP=$(mktemp -d)
STATUS=000
CHECKS=0
FAILURES=0
IDS=()
OTHERS=() # paths of what else was made

AUTH=()
[ -n "${API_KEY:-}" ] && AUTH=(-H "Authorization: Bearer $API_KEY")
JSON='Content-Type: application/json'

# request METHOD URL [curl's arguments ...]: sets STATUS and leaves the answer in $TMP. One after
# the other they stay well below the service's limit; where others use it up, this waits.
request() {
    local method=$1 url=$2 wait tries
    shift 2
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        : >"$TMP/body"
        : >"$TMP/headers"
        STATUS=$(curl -sSg --max-time 20 -X "$method" -o "$TMP/body" -D "$TMP/headers" -w '%{http_code}' \
            "${AUTH[@]+"${AUTH[@]}"}" "$@" "$url" 2>"$TMP/curl-error")
        [ "$STATUS" = 429 ] || return 0
        wait=$(sed -n 's/^retry-after: *\([0-9]*\).*/\1/Ip' "$TMP/headers")
        sleep "${wait:-1}"
    done
}

post() { # post PATH BODY [curl's arguments ...]
    local path=$1 body=$2
    shift 2
    request POST "$API$path" -H "$JSON" --data-binary "$body" "$@"
}

# python EXPRESSION: prints it. d is the answer's JSON (None if it is none), text the answer as it
# came, h its headers with lower-case names; saved(name) is what `save` kept.
python() {
    MARK=$MARK python3 -IS -c '
import json, os, sys
folder = sys.argv[2]
def read(name):
    with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
        return file.read()
def saved(name):
    return json.loads(read("saved-" + name))
text = read("body")
try:
    d = json.loads(text)
except ValueError:
    d = None
h = dict(line.lower().strip().split(": ", 1) for line in read("headers").splitlines() if ": " in line)
mark = os.environ["MARK"]
print(eval(sys.argv[1]))
' "$1" "$TMP" 2>"$TMP/python-error"
}

save() { cp "$TMP/body" "$TMP/saved-$1"; }

# expect NAME STATUS [EXPRESSION]: one line, ok or FAIL, for the last answer.
expect() {
    local name=$1 status=$2 expression=${3:-True} problem=
    CHECKS=$((CHECKS + 1))
    if [ "$STATUS" != "$status" ]; then
        problem="answered $STATUS, not $status"
    elif [ "$(python "bool($expression)")" != True ]; then
        problem="not so: $expression"
    fi
    if [ -z "$problem" ]; then
        printf 'ok    %s\n' "$name"
    else
        FAILURES=$((FAILURES + 1))
        printf 'FAIL  %s: %s\n      %s\n' "$name" "$problem" "$(head -c 300 "$TMP/body" "$TMP/curl-error" | tr '\n' ' ')"
    fi
}

# An error in the service's one shape, with that code.
expect_error() { # expect_error NAME STATUS CODE [EXPRESSION]
    expect "$1" "$2" "d['error'] == '$3' and isinstance(d['details'], str) and d['details'] and set(d) <= {'error', 'details', 'retry_after'} and (${4:-True})"
}

made() { # keeps the ids of the last answer, to erase them in the end
    local id
    for id in $(python "' '.join(d.get('conversation_ids') or [d['conversation_id']])"); do
        [[ $id =~ ^conv_[0-9a-f]{8}$ ]] && IDS+=("$id")
    done
}

clean_up() {
    local id
    for id in "${IDS[@]+"${IDS[@]}"}"; do
        request DELETE "$API/conversations/$id"
    done
    for id in "${OTHERS[@]+"${OTHERS[@]}"}"; do
        request DELETE "$API/$id"
    done
    rm -rf "$TMP"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

command -v curl >/dev/null && command -v python3 >/dev/null || {
    echo "curl and python3 are needed" >&2
    exit 2
}
request GET "$BASE/health"
if [ "$STATUS" = 000 ]; then
    echo "No service at $BASE: $(cat "$TMP/curl-error")" >&2
    exit 2
fi

request GET "$API/endpoints" # as only a key with the scope admin may
case $STATUS in
401 | 403)
    echo "Set API_KEY to a key with the scope admin. $BASE answered $STATUS: $(python "d['details']")" >&2
    exit 2
    ;;
esac

# --- operations -----------------------------------------------------------------------------------

request GET "$BASE/health"
expect 'GET /health' 200 "d == {'status': 'ok'}"
expect 'answers carry X-Request-ID' 200 "h['x-request-id']"
request GET "$BASE/health" -H 'X-Request-ID: my-own.id_1'
expect 'X-Request-ID is taken over' 200 "h['x-request-id'] == 'my-own.id_1'"
request GET "$BASE/ready"
expect 'GET /ready' 200 "d['status'] == 'ready' and set(d['checks']) >= {'database', 'worker', 'analyser'}"
request GET "$BASE/docs"
expect 'GET /docs' 200 "h['content-type'].startswith('text/html')"
request GET "$BASE/openapi.json"
expect 'GET /openapi.json' 200 "'/api/v1/conversations' in d['paths'] and '/api/v1/insights' in d['paths']"
expect 'OpenAPI names no 422' 200 "not any('422' in o['responses'] for p in d['paths'].values() for o in p.values())"
request GET "$BASE/"
expect 'GET / leads on' 307 "h['location'] == 'dashboard'"

# --- one conversation -----------------------------------------------------------------------------

post /conversations "{\"text\": \"  My parcel is late and nobody answers  \", \"author\": \"$MARK\", \"timestamp\": \"2025-01-20T12:00:00+02:00\", \"raw_data\": {\"likes\": 3}}"
expect 'POST /conversations' 202 "d['status'] == 'accepted' and __import__('re').fullmatch('conv_[0-9a-f]{8}', d['conversation_id'])"
expect 'Location' 202 "h['location'] == '/api/v1/conversations/' + d['conversation_id']"
made
ID=${IDS[0]:-conv_none}

request GET "$API/conversations/$ID"
expect 'GET /conversations/{id}' 200 "d['conversation_id'] == '$ID' and d['author'] == mark and d['lane'] == 'live' and d['raw_data'] == {'likes': 3}"
expect 'text is trimmed' 200 "d['text'] == 'My parcel is late and nobody answers'"
expect 'times are in UTC' 200 "d['timestamp'] == '2025-01-20T10:00:00Z'"
expect 'all fields are there' 200 "set(d) >= {'conversation_id', 'status', 'lane', 'text', 'author', 'timestamp', 'created_at', 'attempts', 'last_error', 'raw_data', 'queue', 'insight'}"

BODY="{\"text\": \"The invoice is wrong again\", \"author\": \"$MARK\", \"timestamp\": \"2025-01-20T10:00:01Z\"}"
post /conversations "$BODY" -H "Idempotency-Key: $MARK"
expect 'POST with an Idempotency-Key' 202 "d['conversation_id']"
save first
made
post /conversations "$BODY" -H "Idempotency-Key: $MARK"
expect 'the same again gives the same id' 202 "d['conversation_id'] == saved('first')['conversation_id']"
post /conversations "{\"text\": \"Something else\"}" -H "Idempotency-Key: $MARK"
expect_error 'the same key with another body' 409 conflict

# --- a batch --------------------------------------------------------------------------------------

item() { printf '{"text": "%s", "author": "%s", "timestamp": "2025-01-20T11:00:00Z"}' "$1" "$MARK"; }
post /conversations/batch "{\"conversations\": [$(item 'I love the new app, thank you'), $(item 'When will it be back in stock?'), $(item 'The wifi is down, terrible service')], \"lane\": \"live\"}"
expect 'POST /conversations/batch' 202 "d['status'] == 'accepted' and d['accepted'] == 3 and len(set(d['conversation_ids'])) == 3"
made
post /conversations/batch '{"conversations": [{"text": "good"}, {"text": "  "}]}'
expect_error 'a batch with a bad item' 400 invalid_schema "d['details'].startswith('conversations[1].text: ')"
post /conversations/batch '{"conversations": []}'
expect_error 'an empty batch' 400 invalid_schema "'conversations' in d['details']"
post /conversations/batch '{"conversations": [{"text": "good"}], "lane": "fast"}'
expect_error 'an unknown lane' 400 invalid_schema "'lane' in d['details']"

# --- the analysis ---------------------------------------------------------------------------------

LIST="$API/insights?start_time=2025-01-20T00:00:00Z&end_time=2025-01-20T23:59:59Z&author=$MARK"
END=$((SECONDS + WAIT_SECONDS))
while request GET "$LIST"; [ "$STATUS" = 200 ] && [ ${#IDS[@]} = 5 ] && [ $SECONDS -lt $END ]; do
    [ "$(python "d['metadata']['total_count'] >= 5")" = True ] && break
    sleep 0.2
done
expect 'all five are analysed' 200 "d['metadata']['total_count'] == 5"
expect 'the list has them' 200 "sorted(i['conversation_id'] for i in d['insights']) == sorted('${IDS[*]:-}'.split())"
expect 'newest first' 200 "[i['timestamp'] for i in d['insights']] == sorted((i['timestamp'] for i in d['insights']), reverse=True) and d['insights']"
expect 'each has its analysis' 200 "d['insights'] and all(-1 <= a['sentiment_score'] <= 1 and 0 <= a['confidence'] <= 1 and a['clusters'] and a['reasoning'] for a in (i['grok_analysis'] for i in d['insights']))"
expect 'metadata' 200 "d['metadata'] == {'total_count': 5, 'corrected_count': 0, 'returned_count': 5, 'start_time': '2025-01-20T00:00:00Z', 'end_time': '2025-01-20T23:59:59Z', 'next_cursor': None}"
save list
request GET "$API/conversations/$ID"
expect 'the conversation is completed' 200 "d['status'] == 'completed' and d['queue'] is None and d['insight']['grok_analysis'] == next(i['grok_analysis'] for i in saved('list')['insights'] if i['conversation_id'] == '$ID')"

# --- the list's filters, against the whole list ---------------------------------------------------

# filtered NAME QUERY CONDITION: exactly those of the list for which the condition on a holds.
filtered() {
    local range='start_time=2025-01-20T00:00:00Z&end_time=2025-01-20T23:59:59Z&'
    [[ $2 = start_time=* ]] && range=
    request GET "$API/insights?author=$MARK&$range$2"
    expect "$1" 200 "[i['conversation_id'] for i in d['insights']] == [i['conversation_id'] for i in saved('list')['insights'] for a in [i['grok_analysis']] if $3] and d['metadata']['total_count'] == len(d['insights'])"
}
filtered 'sentiment=positive' sentiment=positive "a['sentiment_score'] > 0.1"
filtered 'sentiment=negative' sentiment=negative "a['sentiment_score'] < -0.1"
filtered 'sentiment=neutral' sentiment=neutral "-0.1 <= a['sentiment_score'] <= 0.1"
FIRST_CLUSTER="saved('list')['insights'][0]['grok_analysis']['clusters'][0]"
CLUSTER=$(python "__import__('urllib.parse').parse.quote($FIRST_CLUSTER)")
filtered "cluster=$CLUSTER" "cluster=$CLUSTER" "$FIRST_CLUSTER in a['clusters']"
filtered 'cluster=no_such_cluster' cluster=no_such_cluster False
MIDDLE_CONFIDENCE="sorted(i['grok_analysis']['confidence'] for i in saved('list')['insights'])[2]"
CONFIDENCE=$(python "float($MIDDLE_CONFIDENCE)")
filtered "min_confidence=$CONFIDENCE" "min_confidence=$CONFIDENCE" "a['confidence'] >= $MIDDLE_CONFIDENCE"
filtered 'times include their ends' 'start_time=2025-01-20T10:00:01Z&end_time=2025-01-20T10:00:01Z' "i['timestamp'] == '2025-01-20T10:00:01Z'"

# A word of a text is in it, whatever its case; a phrase is in quotes.
filtered 'q=INVOICE' q=INVOICE "'invoice' in i['text']"
filtered 'q="new app"' 'q=%22new%20app%22' "'new app' in i['text']"
filtered 'q=app new is no phrase' 'q=app%20new' "'new app' in i['text']"

PAGED=
CURSOR=
for PAGE in 1 2 3; do
    request GET "$LIST&limit=2${CURSOR:+&cursor=$CURSOR}"
    PAGED="$PAGED $(python "' '.join(i['conversation_id'] for i in d['insights'])" | tr -cd 'a-z0-9_ ')"
    CURSOR=$(python "d['metadata']['next_cursor'] or ''")
    [ -n "$CURSOR" ] || break
done
expect 'three pages of two, two and one' 200 "'$PAGE' == '3' and d['metadata'] | {'start_time': 0, 'end_time': 0} == {'total_count': 5, 'corrected_count': 0, 'returned_count': 1, 'start_time': 0, 'end_time': 0, 'next_cursor': None}"
expect 'pages neither skip nor repeat' 200 "'$PAGED'.split() == [i['conversation_id'] for i in saved('list')['insights']]"

TIMES='start_time=2025-01-20T00:00:00Z&end_time=2025-01-21T00:00:00Z'
request GET "$API/insights?end_time=2025-01-21T00:00:00Z"
expect_error 'no start_time' 400 invalid_schema "d['details'] == 'Missing required field: start_time'"
request GET "$API/insights?start_time=2025-01-21T00:00:00Z&end_time=2025-01-20T00:00:00Z"
expect_error 'start_time after end_time' 400 invalid_schema "'start_time' in d['details']"
request GET "$API/insights?$TIMES&limit=0"
expect_error 'limit=0' 400 invalid_schema "'limit' in d['details']"
request GET "$API/insights?$TIMES&limit=1001"
expect_error 'limit=1001' 400 invalid_schema "'limit' in d['details']"
request GET "$API/insights?$TIMES&min_confidence=1.5"
expect_error 'min_confidence=1.5' 400 invalid_schema "'min_confidence' in d['details']"
request GET "$API/insights?$TIMES&sentiment=angry"
expect_error 'sentiment=angry' 400 invalid_schema "'sentiment' in d['details']"
request GET "$API/insights?$TIMES&cursor=not-a-cursor"
expect_error 'a bad cursor' 400 invalid_schema "'cursor' in d['details']"

# --- the same counted, as a file, and as they come ------------------------------------------------

SCORES="[i['grok_analysis']['sentiment_score'] for i in saved('list')['insights']]"
request GET "$API/insights/summary?$TIMES&author=$MARK&interval=hour"
expect 'GET /insights/summary' 200 "len(d['series']) == 25 and d['totals']['count'] == 5 and d['totals']['negative'] == sum(s < -0.1 for s in $SCORES)"
expect 'its average is that of the list' 200 "abs(d['totals']['average_sentiment'] - sum($SCORES) / 5) < 1e-6"
expect 'its series add up' 200 "sum(b['positive'] + b['neutral'] + b['negative'] for b in d['series']) == 5 and d['series'][10]['bucket'] == '2025-01-20T10:00:00Z'"
request GET "$API/insights/summary?$TIMES&interval=second"
expect_error 'interval=second' 400 invalid_schema "'interval' in d['details']"
request GET "$API/authors"
expect 'GET /authors' 200 "isinstance(d['authors'], list)"
request GET "$API/trends?window=6h"
expect 'GET /trends' 200 "d['window'] == '6h' and isinstance(d['trends'], list)"
request GET "$API/insights/export?$TIMES&author=$MARK&format=ndjson"
expect 'GET /insights/export as NDJSON' 200 "[json.loads(line) for line in text.splitlines()] == saved('list')['insights']"
request GET "$API/insights/export?$TIMES&author=$MARK&format=csv"
expect 'GET /insights/export as CSV' 200 "[row['conversation_id'] for row in __import__('csv').DictReader(__import__('io').StringIO(text))] == [i['conversation_id'] for i in saved('list')['insights']]"
request GET "$API/stream" -H 'Last-Event-ID: 0' --max-time 1
expect 'GET /stream' 200 "h['content-type'].startswith('text/event-stream') and 'event: insight' in text and 'id: ' in text"

# --- what people say and do about a conversation --------------------------------------------------

send() { # send METHOD PATH BODY
    request "$1" "$API$2" -H "$JSON" --data-binary "$3"
}

send PUT "/conversations/$ID/labels" '{"sentiment": "positive", "by": "test_api", "reason": "a test"}'
expect 'PUT /conversations/{id}/labels' 200 "d['grok_analysis']['sentiment_score'] == 0.6 and d['labelled']['name'] == 'test_api'"
filtered 'labelled=person' labelled=person "i['conversation_id'] == '$ID'"
request GET "$API/conversations/$ID/labels"
expect 'GET /conversations/{id}/labels' 200 "d['effective']['sentiment_score'] == 0.6 and len(d['log']) == 1"
request DELETE "$API/conversations/$ID/labels?by=test_api"
expect 'DELETE /conversations/{id}/labels' 204
send PUT "/conversations/$ID/labels" '{"by": "test_api"}'
expect_error 'a label that says nothing' 400 invalid_schema

send POST "/conversations/$ID/handling" '{"state": "claimed", "by": "test_api"}'
expect 'POST /conversations/{id}/handling' 200 "d['state'] == 'claimed' and d['by'] == 'test_api' and d['until']"
send POST "/conversations/$ID/handling" '{"state": "claimed", "by": "somebody else"}'
expect_error 'claiming what somebody holds' 409 conflict "'test_api' in d['details']"
request GET "$API/conversations/$ID/handling"
expect 'GET /conversations/{id}/handling' 200 "d['state'] == 'claimed'"
send POST "/conversations/$ID/handling" '{"state": "open", "by": "test_api"}'
expect 'opening it again' 200 "d['state'] == 'open'"
request GET "$LIST&order=priority"
expect 'order=priority' 200 "all(abs(sum(t['points'] for t in i['priority']['terms']) - i['priority']['points']) < 1e-9 for i in d['insights']) and len(d['insights']) == 5"

# --- rules and plans: of this script's author alone -----------------------------------------------

post /rules "{\"name\": \"$MARK\", \"filter\": {\"author\": \"$MARK\"}, \"set\": {\"sentiment\": \"neutral\"}}"
expect 'POST /rules' 201 "d['enabled'] and d['labelled'] == 0"
RULE=$(python "d['rule_id']" | tr -cd 'a-z0-9_')
OTHERS+=("rules/$RULE")
request GET "$API/rules"
expect 'GET /rules' 200 "'$RULE' in text"
send PATCH "/rules/$RULE" '{"enabled": false}'
expect 'PATCH /rules/{id}' 200 "d['enabled'] is False"
request GET "$API/rules/$RULE"
expect 'GET /rules/{id}' 200 "d['name'] == mark"
request DELETE "$API/rules/$RULE"
expect 'DELETE /rules/{id}' 200 "d['take_back']['kind'] == 'unlabel'"

plan_rests() { # waits until the plan is neither applied nor undone just now
    local end=$((SECONDS + WAIT_SECONDS))
    while request GET "$API/plans/$PLAN"; [ "$STATUS" = 200 ] && [ $SECONDS -lt $end ]; do
        [ "$(python "d['state'] in ('applying', 'undoing')")" = True ] || break
        sleep 0.2
    done
}
post /plans "{\"kind\": \"label\", \"by\": \"test_api\", \"filter\": {\"author\": \"$MARK\"}, \"set\": {\"sentiment\": \"neutral\"}}"
expect 'POST /plans' 201 "d['state'] == 'ready' and d['matched'] == 5"
PLAN=$(python "d['plan_id']" | tr -cd 'a-z0-9_')
request POST "$API/plans/$PLAN/apply"
expect 'POST /plans/{id}/apply' 202
plan_rests
expect 'GET /plans/{id}' 200 "d['state'] == 'applied' and d['done'] == 5"
request POST "$API/plans/$PLAN/undo"
expect 'POST /plans/{id}/undo' 202
plan_rests
expect 'it is undone' 200 "d['state'] == 'undone'"
request GET "$API/plans"
expect 'GET /plans' 200 "'$PLAN' in text"
request GET "$LIST"
expect 'all is as it was' 200 "d['insights'] == saved('list')['insights']"

# --- alerts and where they go: nothing is sent ----------------------------------------------------

post /endpoints "{\"name\": \"$MARK\", \"kind\": \"standard\", \"url\": \"https://1.1.1.1/$MARK\", \"events\": [\"report\"]}"
expect 'POST /endpoints' 201 "d['secret'].startswith('whsec_')"
ENDPOINT=$(python "d['endpoint_id']" | tr -cd 'a-z0-9_')
OTHERS+=("endpoints/$ENDPOINT")
request GET "$API/endpoints"
expect 'GET /endpoints' 200 "'$ENDPOINT' in text and 'whsec_' not in text"
request POST "$API/endpoints/$ENDPOINT/rotate"
expect 'POST /endpoints/{id}/rotate' 200 "d['secret'].startswith('whsec_')"
request GET "$API/endpoints/$ENDPOINT/deliveries"
expect 'GET /endpoints/{id}/deliveries' 200 "d['deliveries'] == []"
post /endpoints '{"name": "inside", "kind": "standard", "url": "https://127.0.0.1/"}'
expect_error 'an endpoint inside' 400 invalid_schema "'url' in d['details']"

post /alert-rules "{\"name\": \"$MARK\", \"kind\": \"count\", \"above\": 1000, \"filter\": {\"author\": \"$MARK\"}, \"to\": [\"$ENDPOINT\"]}"
expect 'POST /alert-rules' 201 "d['kind'] == 'count' and d['to'] == ['$ENDPOINT']"
ALERT_RULE=$(python "d['rule_id']" | tr -cd 'a-z0-9_')
OTHERS=("alert-rules/$ALERT_RULE" "${OTHERS[@]}") # before the endpoint that it names
request DELETE "$API/endpoints/$ENDPOINT"
expect_error 'deleting an endpoint that a rule names' 409 conflict
request POST "$API/alert-rules/$ALERT_RULE/try"
expect 'POST /alert-rules/{id}/try' 200 "d['alerts'] == []"
request GET "$API/alert-rules"
expect 'GET /alert-rules' 200 "'$ALERT_RULE' in text"
request DELETE "$API/alert-rules/$ALERT_RULE"
expect 'DELETE /alert-rules/{id}' 204
request DELETE "$API/endpoints/$ENDPOINT"
expect 'DELETE /endpoints/{id}' 204
request GET "$API/alerts"
expect 'GET /alerts' 200 "isinstance(d['alerts'], list)"
request GET "$API/report?period=week&format=markdown"
expect 'GET /report' 200 "text.startswith('# Report')"

# --- figures --------------------------------------------------------------------------------------

request GET "$API/stats"
expect 'GET /stats' 200 "set(d['counts']) == {'pending', 'processing', 'completed', 'failed'} and sum(d['counts']['completed'].values()) >= 5 and d['completed_last_hour'] >= 5 and d['analyser']['name']"
request GET "$API/conversations/failed"
expect 'GET /conversations/failed' 200 "d['metadata']['total_count'] >= 0 and isinstance(d['conversations'], list)"
request GET "$API/analysis-versions"
expect 'GET /analysis-versions' 200 "sum(v['active'] for v in d) == 1"
request GET "$BASE/metrics"
expect 'GET /metrics' 200 "h['content-type'].startswith('text/plain') and '# TYPE ' in text"

# --- wrong requests -------------------------------------------------------------------------------

post /conversations '{"author": "somebody"}'
expect_error 'no text' 400 invalid_schema "d['details'] == 'Missing required field: text'"
post /conversations '{"text": "   "}'
expect_error 'a blank text' 400 invalid_schema "'text' in d['details']"
post /conversations '{"text": 7}'
expect_error 'a text that is a number' 400 invalid_schema "'text' in d['details']"
post /conversations '{"text": "x", "timestamp": "yesterday"}'
expect_error 'a time that is none' 400 invalid_schema "'timestamp' in d['details']"
post /conversations '{"text": "x", "raw_data": [1]}'
expect_error 'raw_data that is a list' 400 invalid_schema "'raw_data' in d['details']"
post /conversations '{"text": '
expect_error 'JSON cut off' 400 invalid_schema "'JSON' in d['details']"
post /conversations '[]'
expect_error 'a body that is a list' 400 invalid_schema
request POST "$API/conversations" -H 'Content-Type: text/plain' --data-binary '{"text": "x"}'
expect_error 'the wrong content type' 400 invalid_schema "'Content-Type' in d['details'] or 'content type' in d['details'].lower()"
{ printf '{"text": "'; head -c 3000000 /dev/zero | tr '\0' x; printf '"}'; } >"$TMP/large"
post /conversations "@$TMP/large"
expect_error 'a body over the limit' 413 payload_too_large
request GET "$API/nothing-here"
expect_error 'an unknown path' 404 not_found
request PUT "$API/conversations" -H "$JSON" --data-binary '{}'
expect_error 'a method that is not offered' 405 method_not_allowed "'post' in h['allow']"
request GET "$API/conversations/conv_none"
expect_error 'an unknown conversation' 404 not_found
request POST "$API/conversations/conv_none/retry"
expect_error 'retrying an unknown one' 404 not_found
request POST "$API/conversations/$ID/retry"
expect_error 'retrying one that is not failed' 409 conflict
request DELETE "$API/conversations/conv_none"
expect_error 'erasing an unknown one' 404 not_found

# --- erasing --------------------------------------------------------------------------------------

request DELETE "$API/conversations/$ID"
expect 'DELETE /conversations/{id}' 204 "text == ''"
request GET "$API/conversations/$ID"
expect_error 'it is gone' 404 not_found
request GET "$LIST"
expect 'and out of the list' 200 "d['metadata']['total_count'] == 4 and '$ID' not in text"

if [ -n "${API_KEY:-}" ]; then
    AUTH=()
    request GET "$API/stats"
    if [ "$STATUS" != 200 ]; then
        expect_error 'no API key' 401 unauthorized "'www-authenticate' in h"
        AUTH=(-H 'Authorization: Bearer wrong')
        request GET "$API/stats"
        expect_error 'a wrong API key' 401 unauthorized
    fi
    AUTH=(-H "Authorization: Bearer $API_KEY")
fi

echo
echo "$CHECKS checks, $FAILURES failed"
[ "$FAILURES" = 0 ]
