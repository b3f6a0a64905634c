//go:build dynamodb

package store_test

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-dev/penstock/controllers/store"
)

// fault answers a request in the server's place, or after it.
type fault func(next http.RoundTripper, r *http.Request) (*http.Response, error)

// faults stands between the SDK and the server.
type faults struct {
	t    *testing.T
	next http.RoundTripper

	mu      sync.Mutex // guards the following
	script  []fault    // of the next requests; then the server answers
	forever fault      // instead of the server when the script is over
	calls   []string   // the operations of all requests
}

func (f *faults) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	f.check(operation, r)
	f.calls = append(f.calls, operation)
	do := f.forever
	if len(f.script) > 0 {
		do, f.script = f.script[0], f.script[1:]
	}
	f.mu.Unlock()
	if do == nil {
		return f.next.RoundTrip(r)
	}
	return do(f.next, r)
}

// check fails the test at a request that could wait for ever, and at one that could read what was before the last write: a row that was just made would
// seem not to exist.
func (f *faults) check(operation string, r *http.Request) {
	if _, found := r.Context().Deadline(); !found {
		f.t.Errorf("%s has no deadline", operation)
	}
	text, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil || operation == "GetItem" && !bytes.Contains(text, []byte(`"ConsistentRead":true`)) {
		f.t.Errorf("%s is no consistent read: %s (%v)", operation, text, err)
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
}

// set replaces the script, and returns the operations of the requests until now.
func (f *faults) set(forever fault, script ...fault) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.script, f.forever, f.calls = script, forever, nil
	return calls
}

// refuse answers with an error of the API, unread.
func refuse(status int, code string) fault {
	return func(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
		if err := r.Body.Close(); err != nil {
			return nil, err
		}
		body := fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"m"}`, code)
		return &http.Response{
			Status: strconv.Itoa(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
			Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amzn-Requestid": {crand.Text()}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}, nil
	}
}

// deliver has the server apply the request, and returns its answer.
func deliver(next http.RoundTripper, r *http.Request) ([]byte, *http.Response, error) {
	response, err := next.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(response.Body)
	return body, response, errors.Join(err, response.Body.Close())
}

// lost loses the answer of what was applied.
func lost(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	_, _, err := deliver(next, r)
	return nil, errors.Join(errors.New("connection reset by peer"), err)
}

// half loses the second half of the answer.
func half(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	body, response, err := deliver(next, r)
	if err != nil {
		return nil, err
	}
	response.Header.Del("X-Amz-Crc32")
	response.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body[:len(body)/2]), brokenReader{}))
	return response, nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// unavailable says 500 after what was applied.
func unavailable(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if _, _, err := deliver(next, r); err != nil {
		return nil, err
	}
	r.Body = http.NoBody
	return refuse(http.StatusInternalServerError, "InternalServerError")(next, r)
}

// silent applies the request and does not answer.
func silent(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	_, _, err := deliver(next, r)
	<-r.Context().Done()
	return nil, errors.Join(r.Context().Err(), err)
}

// dropped loses the request.
func dropped(_ http.RoundTripper, r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// reset loses the request at once.
func reset(http.RoundTripper, *http.Request) (*http.Response, error) {
	return nil, errors.New("connection reset by peer")
}

// during lets others write before the request is delivered.
func during(t *testing.T, write func() error, then fault) fault {
	t.Helper()
	return func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if err := write(); err != nil {
			t.Error(err)
		}
		if then == nil {
			return next.RoundTrip(r)
		}
		return then(next, r)
	}
}

var (
	throttle = refuse(http.StatusBadRequest, "ProvisionedThroughputExceededException")
	broken   = refuse(http.StatusInternalServerError, "InternalServerError")
	locked   = refuse(http.StatusBadRequest, "TransactionConflictException")
)

// Every fault that passes is passed within the call.
func TestDynamoDBPassingFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		script []fault
	}{
		"Throttled":   {"DynamoDB asks to come back", []fault{throttle, throttle}},
		"Requests":    {"so does the account's limit", []fault{refuse(http.StatusBadRequest, "RequestLimitExceeded")}},
		"Broken":      {"a part of DynamoDB fails over", []fault{broken, refuse(http.StatusServiceUnavailable, "ServiceUnavailable")}},
		"Reset":       {"a connection was idle for too long", []fault{reset}},
		"Dropped":     {"a packet filter lets nothing through for a while", []fault{dropped}},
		"Locked":      {"a transaction of another controller is on the row", []fault{locked}},
		"Lost":        {"the write was applied and the answer is lost", []fault{lost}},
		"Half":        {"half the answer is lost", []fault{half}},
		"Unavailable": {"the write was applied although the answer is 500", []fault{unavailable}},
		"Silent":      {"the write was applied and there is no answer", []fault{silent}},
		"LostThen":    {"what was applied is remembered beyond the next fault", []fault{lost, throttle, reset}},
		"LostTwice":   {"two answers are lost", []fault{lost, lost}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tab := newTable(t)
			opts := store.Options{}
			if name == "Dropped" || name == "Silent" {
				opts.CallTimeout = 3 * time.Second // an attempt ends after a third
			}
			s := tab.store(t, opts)
			tab.faults.set(nil, tc.script...)
			if err := s.Create(t.Context(), store.Row{DesiredWeight: 50}); err != nil {
				t.Fatalf("%s: Create: %v", tc.reason, err)
			}
			tab.faults.set(nil, tc.script...)
			row := read(t, s)
			if calls := tab.faults.set(nil, tc.script...); len(calls) != len(tc.script)+1 {
				t.Errorf("%s: read by %v", tc.reason, calls)
			}
			next := row
			next.CurrentWeight, next.Ramp = 50, moving()
			if err := s.Acknowledge(t.Context(), row, next); err != nil {
				t.Fatalf("%s: Acknowledge: %v", tc.reason, err)
			}
			if calls := tab.faults.set(nil); len(calls) != len(tc.script)+1 {
				t.Errorf("%s: acknowledged by %v", tc.reason, calls)
			}
			wantRow(t, s, tc.reason, next)
			tab.faults.set(nil, tc.script...)
			if err := s.Desire(t.Context(), 60); err != nil {
				t.Fatalf("%s: Desire: %v", tc.reason, err)
			}
			next.DesiredWeight = 60
			wantRow(t, s, tc.reason, next)
		})
	}
}

// A conflict stays one, whatever happens to answers.
func TestDynamoDBConflictingFaults(t *testing.T) {
	t.Parallel()
	tab := newTable(t)
	s, other := tab.store(t, store.Options{}), func() *store.DynamoDB {
		other, err := store.NewDynamoDB(tab.client, tab.name, cluster, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return other
	}()
	row := created(t, subject{Store: s})
	next, theirs := row, row
	next.CurrentWeight, next.Ramp = 50, moving()
	theirs.CurrentWeight = 20

	tab.faults.set(nil, reset, during(t, func() error { return other.Acknowledge(t.Context(), row, theirs) }, nil))
	wantError(t, s.Acknowledge(t.Context(), row, next), store.ErrConflict, "CurrentWeight", "20")
	wantRow(t, s, "the first attempt was not applied, and then others wrote", theirs)

	row = theirs
	tab.faults.set(nil, during(t, func() error { return other.Desire(t.Context(), 60) }, lost))
	wantError(t, s.Acknowledge(t.Context(), row, next), store.ErrConflict, "DesiredWeight", "60")
	row.DesiredWeight = 60
	wantRow(t, s, "the answer that is lost was a conflict", row)

	next.DesiredWeight = 60
	tab.faults.set(nil, throttle, during(t, func() error { return other.Acknowledge(t.Context(), row, next) }, nil))
	wantError(t, s.Acknowledge(t.Context(), row, next), store.ErrConflict)
	wantRow(t, s, "what was throttled was not applied: the same was written by others", next)
}

func TestDynamoDBLastingFaults(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		fault   fault
		timeout time.Duration
		want    error
		calls   int // at most; 0 is that there are several
		says    []string
	}{
		"Throttled": {reason: "the table has too little capacity", fault: throttle, timeout: 600 * time.Millisecond, says: []string{"throttled", "on-demand"}},
		"Broken":    {reason: "DynamoDB is down", fault: broken, timeout: 600 * time.Millisecond, says: []string{"not available"}},
		"Reset":     {reason: "nothing is there", fault: reset, timeout: 600 * time.Millisecond, says: []string{"no answer"}},
		"Dropped":   {reason: "nothing answers", fault: dropped, timeout: 600 * time.Millisecond, want: context.DeadlineExceeded, says: []string{"no answer in time"}},
		"Denied": {
			reason: "the policy lacks an action", fault: refuse(http.StatusBadRequest, "AccessDeniedException"), calls: 1,
			says: []string{"allow the IAM action dynamodb:%s on arn:aws:dynamodb:*:*:table/"},
		},
		"Credentials": {reason: "the key is gone", fault: refuse(http.StatusBadRequest, "UnrecognizedClientException"), calls: 1, says: []string{"credentials were refused"}},
		"Unexpected":  {reason: "something new", fault: refuse(http.StatusBadRequest, "TeapotException"), calls: 1, says: []string{"not expected", "TeapotException"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tab := newTable(t)
			patient := tab.store(t, store.Options{})
			row := created(t, subject{Store: patient})
			s := tab.store(t, store.Options{CallTimeout: tc.timeout})
			next := row
			next.CurrentWeight = 50
			for operation, do := range map[string]func() error{
				"GetItem":    func() error { _, err := s.Read(t.Context()); return err },
				"UpdateItem": func() error { return s.Acknowledge(t.Context(), row, next) },
			} {
				tab.faults.set(tc.fault)
				begin := time.Now()
				err := do()
				if took := time.Since(begin); tc.timeout > 0 && took > tc.timeout+5*time.Second {
					t.Errorf("%s: %s took %s", tc.reason, operation, took)
				}
				if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
					t.Fatalf("%s: %s: error %v, want %v", tc.reason, operation, err, tc.want)
				}
				for _, sentinel := range []error{store.ErrNotFound, store.ErrConflict, store.ErrInvalid} {
					if errors.Is(err, sentinel) {
						t.Errorf("%s: %s: %v is %v", tc.reason, operation, err, sentinel)
					}
				}
				for _, part := range append(tc.says, tab.name, cluster, operation) {
					if part = strings.Replace(part, "%s", operation, 1); !strings.Contains(err.Error(), part) {
						t.Errorf("%s: error %q does not say %q", tc.reason, err, part)
					}
				}
				if calls := tab.faults.set(tc.fault); tc.calls > 0 && len(calls) != tc.calls || tc.calls == 0 && len(calls) < 2 {
					t.Errorf("%s: %d calls of %s", tc.reason, len(calls), operation)
				}
				if again := do(); again == nil || again.Error() != err.Error() {
					t.Errorf("%s: the same failure is told in other words:\n%v\n%v", tc.reason, err, again)
				}
				tab.faults.set(nil)
			}
			wantRow(t, patient, "nothing was written", row)
		})
	}
}

// The caller's end is the call's, in the middle of an attempt and between two.
func TestDynamoDBCancelled(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]fault{"Attempt": dropped, "Pause": throttle} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tab := newTable(t)
			s := tab.store(t, store.Options{CallTimeout: time.Hour})
			ctx, cancel := context.WithCancel(t.Context())
			tab.faults.set(during(t, func() error { cancel(); return nil }, then))
			_, err := s.Read(ctx)
			wantError(t, err, context.Canceled, tab.name)
			if calls := tab.faults.set(nil); len(calls) != 1 {
				t.Errorf("calls %v", calls)
			}
		})
	}
}

// A row is found again although its values are written in another way than the controller's.
func TestDynamoDBSpelling(t *testing.T) {
	t.Parallel()
	tab := newTable(t)
	number := func(value string) types.AttributeValue { return &types.AttributeValueMemberN{Value: value} }
	text := func(value string) types.AttributeValue { return &types.AttributeValueMemberS{Value: value} }
	item := map[string]types.AttributeValue{
		"DesiredWeight": number("50"), "RampPhase": text(" Moving "), "RampFrom": number("0"), "RampTo": number("50"), "RampWeight": number("10"),
		"RampFailures": number("0"), "RampSince": text("2026-01-02T03:04:05.600+01:00"),
	}
	if err := tab.put(t, item); err != nil {
		t.Fatal(err)
	}
	s := tab.store(t, store.Options{})
	row := read(t, s)
	next := row
	next.CurrentWeight, next.Ramp.Weight = 10, 20
	tab.faults.set(nil)
	if err := s.Acknowledge(t.Context(), row, next); err != nil {
		t.Fatal(err)
	}
	if calls := tab.faults.set(nil); len(calls) != 2 {
		t.Errorf("calls %v, want one with the controller's spelling and one with theirs", calls)
	}
	wantRow(t, s, "the row was as it was read", next)
	if err := tab.put(t, item); err != nil {
		t.Fatal(err)
	}
	tab.faults.set(nil, nil, lost)
	if err := s.Acknowledge(t.Context(), row, next); err != nil {
		t.Fatalf("the second answer is lost: %v", err)
	}
	wantRow(t, s, "it was applied", next)
}
