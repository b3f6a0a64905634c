package store_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-dev/penstock/controllers/store"
)

const cluster = "east"

// subject is a Store of cluster, and its row as people and others handle it.
type subject struct {
	store.Store
	// again returns another Store of the same row, as another process has it.
	again func(t *testing.T) store.Store
	// put replaces the row by attributes as people write them. It returns false if the store cannot hold them.
	put func(t *testing.T, attributes map[string]string) bool
	// attributes returns all of the row that is not the Store's own bookkeeping, as text.
	attributes func(t *testing.T) map[string]string
}

// fixed reports that there is a row from the beginning, with a DesiredWeight of 50 that cannot change.
func (s subject) fixed() bool { return s.put == nil }

// subjects make a Store each that has no row yet. DynamoDB, which needs a server, is among them with the build tag dynamodb: `make test-dynamodb`.
var subjects = map[string]func(t *testing.T) subject{
	"Static":    newStatic,
	"ConfigMap": newConfigMap,
}

func newStatic(t *testing.T) subject {
	t.Helper()
	s, err := store.NewStatic(cluster, 50)
	if err != nil {
		t.Fatal(err)
	}
	return subject{Store: s, again: func(*testing.T) store.Store { return s }}
}

// conform runs a test over all stores.
func conform(t *testing.T, test func(t *testing.T, s subject)) {
	t.Helper()
	for name, make := range subjects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, make(t))
		})
	}
}

// created returns the row that the tests begin with, after it was made and read.
func created(t *testing.T, s subject) store.Row {
	t.Helper()
	if err := s.Create(t.Context(), store.Row{ClusterName: cluster, DesiredWeight: 50}); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return read(t, s)
}

func read(t *testing.T, s store.Store) store.Row {
	t.Helper()
	row, err := s.Read(t.Context())
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return row
}

func wantRow(t *testing.T, s store.Store, reason string, want store.Row) {
	t.Helper()
	if diff := cmp.Diff(want, read(t, s)); diff != "" {
		t.Errorf("%s: -want +got:\n%s", reason, diff)
	}
}

func wantError(t *testing.T, err, want error, contains ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	for _, part := range contains {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// moving is a Ramp whose values all differ from zero.
func moving() store.Ramp {
	return store.Ramp{
		Phase: store.Holding, From: 10, To: 50, Weight: 20, Failures: 3,
		Since:   time.Date(2026, 1, 2, 3, 4, 5, 678900001, time.UTC),
		Message: "the query answered 0.2, \"more\" than 0.1 \u2192 waiting\n",
	}
}

func TestConformanceCreate(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		if !s.fixed() {
			_, err := s.Read(t.Context())
			wantError(t, err, store.ErrNotFound)
			wantError(t, s.Desire(t.Context(), 30), store.ErrNotFound)
			wantError(t, s.Acknowledge(t.Context(), store.Row{DesiredWeight: 50}, store.Row{}), store.ErrConflict)
		}
		row := created(t, s)
		want := store.Row{ClusterName: cluster, DesiredWeight: 50}
		if s.fixed() { // there is nothing to wait for
			want.CurrentWeight = 50
		}
		if diff := cmp.Diff(want, row); diff != "" {
			t.Errorf("after Create: -want +got:\n%s", diff)
		}
		if err := s.again(t).Create(t.Context(), store.Row{DesiredWeight: 70, CurrentWeight: 70}); err != nil {
			t.Errorf("a row that is there is no error: %v", err)
		}
		wantRow(t, s, "a row that is there is left alone", row)
		wantError(t, s.Create(t.Context(), store.Row{ClusterName: "west"}), store.ErrInvalid, `"west"`, `"east"`)
		wantError(t, s.Create(t.Context(), store.Row{DesiredWeight: -1}), store.ErrInvalid, "negative")
	})
}

func TestConformanceCreateWhole(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		if s.fixed() {
			return
		}
		want := store.Row{ClusterName: cluster, DesiredWeight: 300, CurrentWeight: 7, HealthCheckID: "a1b2", Ramp: moving()}
		if err := s.Create(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		wantRow(t, s, "more than 100 is kept as it is, because the controller clamps", want)
	})
}

func TestConformanceCreateRace(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		var wg sync.WaitGroup
		for weight := range 8 {
			other := s.again(t)
			wg.Go(func() {
				if err := other.Create(t.Context(), store.Row{DesiredWeight: weight, CurrentWeight: weight}); err != nil {
					t.Errorf("losing a race is no error: %v", err)
				}
			})
		}
		wg.Wait()
		if row := read(t, s); !s.fixed() && row.DesiredWeight != row.CurrentWeight {
			t.Errorf("the row is of two writers: %+v", row)
		}
	})
}

func TestConformanceAcknowledge(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		row := created(t, s)
		steps := []struct {
			reason  string
			current int
			ramp    store.Ramp
		}{
			{"a weight alone leaves no trace of a ramp", 10, store.Ramp{}},
			{"a ramp comes back as it was", 10, moving()},
			{"zeros are values as well", 0, store.Ramp{Phase: store.Moving}},
			{"the same once more is a write of nothing", 0, store.Ramp{Phase: store.Moving}},
			{"the end of a move", 50, store.Ramp{Phase: store.Arrived, From: 10, To: 50, Weight: 50, Since: time.Unix(1, 0).UTC()}},
			{"the zero Ramp removes what is there", 50, store.Ramp{}},
		}
		for _, step := range steps {
			next := row
			next.CurrentWeight, next.Ramp = step.current, step.ramp
			// Only what is acknowledged counts.
			written := next
			written.DesiredWeight, written.ClusterName, written.HealthCheckID = 99, "", "other"
			if err := s.Acknowledge(t.Context(), row, written); err != nil {
				t.Fatalf("%s: %v", step.reason, err)
			}
			wantRow(t, s, step.reason, next)
			wantRow(t, s.again(t), step.reason+", for others too", next)
			row = next
		}
		local := row
		local.Ramp = moving()
		local.Ramp.Since = local.Ramp.Since.In(time.FixedZone("", 3600))
		if err := s.Acknowledge(t.Context(), row, local); err != nil {
			t.Fatal(err)
		}
		if err := s.Acknowledge(t.Context(), local, row); err != nil {
			t.Errorf("a time is the same in every zone: %v", err)
		}
		for reason, bad := range map[string]store.Row{
			"weight": {CurrentWeight: -2},
			"phase":  {Ramp: store.Ramp{Phase: "Dreaming"}},
			"none":   {Ramp: store.Ramp{Weight: 5}},
			"year":   {Ramp: store.Ramp{Phase: store.Moving, Since: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)}},
		} {
			if err := s.Acknowledge(t.Context(), row, bad); !errors.Is(err, store.ErrInvalid) {
				t.Errorf("%s: what could not be read back is not written, error %v", reason, err)
			}
		}
		wantRow(t, s, "nothing was written", row)
	})
}

func TestConformanceConflict(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(row *store.Row)
	}{
		"Current":  {"another controller has acknowledged", func(row *store.Row) { row.CurrentWeight = 20 }},
		"Ramp":     {"another controller has begun a move", func(row *store.Row) { row.Ramp = moving() }},
		"Weight":   {"another controller has gone a step", func(row *store.Row) { row.Ramp = moving(); row.Ramp.Weight++ }},
		"Since":    {"another controller has gone back and forth", func(row *store.Row) { row.Ramp = moving(); row.Ramp.Since = row.Ramp.Since.Add(1) }},
		"Message":  {"another controller has said something", func(row *store.Row) { row.Ramp = moving(); row.Ramp.Message = "" }},
		"Failures": {"another controller has counted", func(row *store.Row) { row.Ramp = moving(); row.Ramp.Failures = 0 }},
		"Same":     {"another controller has acknowledged the very same, which is its update and not ours", func(row *store.Row) { row.CurrentWeight = 30 }},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conform(t, func(t *testing.T, s subject) {
				t.Helper()
				row := created(t, s)
				if name == "Weight" || name == "Since" || name == "Message" || name == "Failures" {
					next := row
					next.Ramp = moving()
					if err := s.Acknowledge(t.Context(), row, next); err != nil {
						t.Fatal(err)
					}
					row = next
				}
				theirs := row
				tc.change(&theirs)
				if err := s.again(t).Acknowledge(t.Context(), row, theirs); err != nil {
					t.Fatal(err)
				}
				ours := row
				ours.CurrentWeight = 30
				wantError(t, s.Acknowledge(t.Context(), row, ours), store.ErrConflict)
				wantRow(t, s, tc.reason, theirs)
			})
		})
	}
}

func TestConformanceDesire(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		row := created(t, s)
		if s.fixed() {
			err := s.Desire(t.Context(), 60)
			if err == nil || !strings.Contains(err.Error(), "--initial-weight") || !strings.Contains(err.Error(), "configmap") {
				t.Errorf("the error says where the weight comes from and where it could: %v", err)
			}
			wantRow(t, s, "nothing was written", row)
			other := row
			other.DesiredWeight = 60
			wantError(t, s.Acknowledge(t.Context(), other, other), store.ErrConflict)
			return
		}
		acknowledged := row
		acknowledged.CurrentWeight, acknowledged.Ramp = 20, moving()
		if err := s.Acknowledge(t.Context(), row, acknowledged); err != nil {
			t.Fatal(err)
		}
		if err := s.again(t).Desire(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
		want := acknowledged
		want.DesiredWeight = 60
		wantRow(t, s, "only DesiredWeight is written, whatever else the row holds", want)
		ours := acknowledged
		ours.CurrentWeight = 50
		wantError(t, s.Acknowledge(t.Context(), acknowledged, ours), store.ErrConflict, "DesiredWeight")
		wantRow(t, s, "what people want is not acknowledged unseen", want)
		wantError(t, s.Desire(t.Context(), -1), store.ErrInvalid, "negative")
		for _, weight := range []int{0, 100, 500} {
			if err := s.Desire(t.Context(), weight); err != nil {
				t.Fatal(err)
			}
			want.DesiredWeight = weight
			wantRow(t, s, "the weight is kept as it is", want)
		}
	})
}

// A row in which somebody wrote an attribute by another name is refused, since what they meant would never happen.
func TestConformanceMisspelled(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		row  map[string]string
		says string
	}{
		"Case":   {map[string]string{"DesiredWeight": "50", "desiredWeight": "0"}, "desiredWeight is no attribute: write DesiredWeight"},
		"Dashes": {map[string]string{"DesiredWeight": "50", "desired-weight": "0"}, "desired-weight is no attribute: write DesiredWeight"},
		"Alone":  {map[string]string{"Desiredweight": "50"}, "Desiredweight is no attribute: write DesiredWeight"},
		"Others": {map[string]string{"DesiredWeight": "50", "DesiredWeight_old": "0", "DesiredWeight2": "0", "HealthCheckId": "a1b2"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conform(t, func(t *testing.T, s subject) {
				t.Helper()
				if s.fixed() || !s.put(t, tc.row) {
					return
				}
				row, err := s.Read(t.Context())
				if tc.says == "" {
					if err != nil || row.DesiredWeight != 50 {
						t.Errorf("what others write is no concern: row %+v, error %v", row, err)
					}
					return
				}
				wantError(t, err, store.ErrInvalid, tc.says, cluster)
				if row != (store.Row{}) {
					t.Errorf("a row beside the error: %+v", row)
				}
			})
		})
	}
}

func TestConformanceRows(t *testing.T) {
	t.Parallel()
	whole := map[string]string{
		"DesiredWeight": "50", "CurrentWeight": "20", "RampPhase": "Moving", "RampFrom": "10", "RampTo": "50", "RampWeight": "20", "RampFailures": "1",
		"RampSince": "2026-01-02T03:04:05+01:00", "RampMessage": "m",
	}
	since := time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC)
	ramp := store.Ramp{Phase: store.Moving, From: 10, To: 50, Weight: 20, Failures: 1, Since: since, Message: "m"}
	cases := map[string]struct {
		reason string
		change map[string]string // an empty value removes the attribute
		want   store.Row
		says   []string // of the error, if not nil
	}{
		"Whole":            {"a zone is as good as another", nil, store.Row{DesiredWeight: 50, CurrentWeight: 20, Ramp: ramp}, nil},
		"NoCurrent":        {"people do not write CurrentWeight", map[string]string{"CurrentWeight": ""}, store.Row{DesiredWeight: 50, CurrentWeight: store.Unknown, Ramp: ramp}, nil},
		"NoMessage":        {"there may be nothing to say", map[string]string{"RampMessage": "", "CurrentWeight": "0"}, store.Row{DesiredWeight: 50, Ramp: withMessage(ramp, "")}, nil},
		"HealthCheck":      {"others may write it", map[string]string{"HealthCheckID": "a1b2"}, store.Row{DesiredWeight: 50, CurrentWeight: 20, HealthCheckID: "a1b2", Ramp: ramp}, nil},
		"Zero":             {"0 drains when it is written", map[string]string{"DesiredWeight": "0"}, store.Row{CurrentWeight: 20, Ramp: ramp}, nil},
		"More":             {"the controller clamps", map[string]string{"DesiredWeight": "300"}, store.Row{DesiredWeight: 300, CurrentWeight: 20, Ramp: ramp}, nil},
		"NoDesired":        {"a missing weight is not 0, which would drain", map[string]string{"DesiredWeight": ""}, store.Row{}, []string{"DesiredWeight is missing", "from 0 to 100"}},
		"Negative":         {"no share is negative", map[string]string{"DesiredWeight": "-1"}, store.Row{}, []string{`DesiredWeight is "-1"`, "negative"}},
		"Fractional":       {"records have whole weights", map[string]string{"DesiredWeight": "12.5"}, store.Row{}, []string{`DesiredWeight is "12.5"`, "fractional"}},
		"NegativeFraction": {"no share is negative", map[string]string{"DesiredWeight": "-12.5"}, store.Row{}, []string{`"-12.5"`, "negative"}},
		"Large":            {"a number that does not fit", map[string]string{"DesiredWeight": "10000000000000000000000"}, store.Row{}, []string{"DesiredWeight", "too large"}},
		"Text":             {"a typing error", map[string]string{"DesiredWeight": "half"}, store.Row{}, []string{`DesiredWeight is "half"`, "not a number"}},
		"NaN":              {"a number that is none", map[string]string{"DesiredWeight": "NaN"}, store.Row{}, []string{"DesiredWeight", "not a number"}},
		"Exponent":         {"whole, and hard to read", map[string]string{"DesiredWeight": "0x1p4"}, store.Row{}, []string{"DesiredWeight", "digits"}},
		"Current":          {"nor is CurrentWeight guessed", map[string]string{"CurrentWeight": "1.5"}, store.Row{}, []string{`CurrentWeight is "1.5"`, "fractional"}},
		"NoPhase":          {"half a move is none", map[string]string{"RampPhase": ""}, store.Row{}, []string{"RampPhase is missing", "remove all"}},
		"Phase":            {"a phase of another version", map[string]string{"RampPhase": "Dreaming"}, store.Row{}, []string{`RampPhase is "Dreaming"`, "RolledBack"}},
		"NoWeight":         {"a RampWeight of 0 would drain", map[string]string{"RampWeight": ""}, store.Row{}, []string{"RampWeight is missing", "remove all"}},
		"NoSince":          {"a step would follow at once", map[string]string{"RampSince": ""}, store.Row{}, []string{"RampSince is missing"}},
		"Since":            {"not a time", map[string]string{"RampSince": "yesterday"}, store.Row{}, []string{`RampSince is "yesterday"`, "time like"}},
		"Failures":         {"not a count", map[string]string{"RampFailures": "-2"}, store.Row{}, []string{"RampFailures", "negative"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conform(t, func(t *testing.T, s subject) {
				t.Helper()
				if s.fixed() {
					return
				}
				attributes := maps.Clone(whole)
				for name, value := range tc.change {
					attributes[name] = value
					if value == "" {
						delete(attributes, name)
					}
				}
				if !s.put(t, attributes) {
					return
				}
				row, err := s.Read(t.Context())
				if tc.says != nil {
					wantError(t, err, store.ErrInvalid, slices.Concat(tc.says, []string{cluster})...)
					if row != (store.Row{}) {
						t.Errorf("%s: a row beside the error: %+v", tc.reason, row)
					}
					wantError(t, s.Acknowledge(t.Context(), store.Row{DesiredWeight: 50, CurrentWeight: 20, Ramp: ramp}, store.Row{}), store.ErrConflict)
					return
				}
				want := tc.want
				want.ClusterName = cluster
				if diff := cmp.Diff(want, row); err != nil || diff != "" {
					t.Fatalf("%s: error %v, -want +got:\n%s", tc.reason, err, diff)
				}
				next := row
				next.CurrentWeight, next.Ramp = 25, withMessage(ramp, "next")
				if err := s.Acknowledge(t.Context(), row, next); err != nil {
					t.Fatalf("%s, and can be acknowledged: %v", tc.reason, err)
				}
				wantRow(t, s, tc.reason, next)
			})
		})
	}
}

func withMessage(r store.Ramp, message string) store.Ramp {
	r.Message = message
	return r
}

func TestConformanceRepair(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		if s.fixed() {
			return
		}
		s.put(t, map[string]string{"CurrentWeight": "20"})
		if err := s.Create(t.Context(), store.Row{DesiredWeight: 70}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(t.Context()); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("Create does not repair what people have made: error %v", err)
		}
		if err := s.Desire(t.Context(), 60); err != nil {
			t.Fatal(err)
		}
		wantRow(t, s, "Desire repairs what it writes", store.Row{ClusterName: cluster, DesiredWeight: 60, CurrentWeight: 20})
	})
}

// A weight that nobody has acknowledged is not 0: the attribute is not there, also while a move is, until a weight is acknowledged.
func TestConformanceUnknown(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		if s.fixed() {
			return
		}
		row := store.Row{ClusterName: cluster, DesiredWeight: 50, CurrentWeight: store.Unknown}
		if err := s.Create(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		wantRow(t, s, "nothing is acknowledged", row)
		if diff := cmp.Diff(map[string]string{"ClusterName": cluster, "DesiredWeight": "50"}, s.attributes(t)); diff != "" {
			t.Errorf("created: -want +got:\n%s", diff)
		}
		known := row
		known.CurrentWeight = 0
		wantError(t, s.Acknowledge(t.Context(), known, known), store.ErrConflict, "CurrentWeight")
		moves := row
		moves.Ramp = moving()
		served := row
		served.CurrentWeight = 50
		for _, pair := range [][2]store.Row{{row, moves}, {moves, row}, {row, moves}, {moves, served}} {
			if err := s.Acknowledge(t.Context(), pair[0], pair[1]); err != nil {
				t.Fatal(err)
			}
			wantRow(t, s, "what is written", pair[1])
		}
		wantError(t, s.Acknowledge(t.Context(), row, row), store.ErrConflict, "CurrentWeight")
	})
}

func TestMoves(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		row  store.Row
		want bool
	}{
		"Rest":          {store.Row{DesiredWeight: 50}, false},
		"Moving":        {store.Row{Ramp: store.Ramp{Phase: store.Moving}}, true},
		"Holding":       {store.Row{Ramp: store.Ramp{Phase: store.Holding}}, true},
		"Arrived":       {store.Row{Ramp: store.Ramp{Phase: store.Arrived, Weight: 50}}, false},
		"WentBack":      {store.Row{CurrentWeight: 20, Ramp: store.Ramp{Phase: store.RolledBack, Weight: 20}}, false},
		"GoesBack":      {store.Row{CurrentWeight: 50, Ramp: store.Ramp{Phase: store.RolledBack, Weight: 20}}, true},
		"MoreThanAll":   {store.Row{CurrentWeight: 100, Ramp: store.Ramp{Phase: store.RolledBack, Weight: 300}}, false},
		"LessThanNone":  {store.Row{CurrentWeight: 0, Ramp: store.Ramp{Phase: store.RolledBack, Weight: -5}}, false},
		"NothingServed": {store.Row{CurrentWeight: store.Unknown, Ramp: store.Ramp{Phase: store.RolledBack, Weight: 20}}, true},
	} {
		if got := tc.row.Moves(); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

// A table that has never seen a ramp stays as others know it, and what others keep in it stays.
func TestConformanceAttributes(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		if s.fixed() {
			return
		}
		row := created(t, s)
		want := map[string]string{"ClusterName": cluster, "DesiredWeight": "50", "CurrentWeight": "0"}
		if diff := cmp.Diff(want, s.attributes(t)); diff != "" {
			t.Errorf("created: -want +got:\n%s", diff)
		}
		next := row
		next.CurrentWeight, next.Ramp = 50, moving()
		for _, pair := range [][2]store.Row{{row, next}, {next, row}} {
			if err := s.Acknowledge(t.Context(), pair[0], pair[1]); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, s.attributes(t)); diff != "" {
			t.Errorf("after a move: -want +got:\n%s", diff)
		}
		s.put(t, map[string]string{"DesiredWeight": "50", "Owner": "team", "HealthCheckID": "a1b2"})
		row = read(t, s)
		next = row
		next.CurrentWeight, next.Ramp = 50, moving()
		if err := s.Acknowledge(t.Context(), row, next); err != nil {
			t.Fatal(err)
		}
		got := s.attributes(t)
		want = map[string]string{
			"DesiredWeight": "50", "CurrentWeight": "50", "Owner": "team", "HealthCheckID": "a1b2", "RampPhase": "Holding", "RampFrom": "10", "RampTo": "50",
			"RampWeight": "20", "RampFailures": "3", "RampSince": "2026-01-02T03:04:05.678900001Z", "RampMessage": moving().Message,
		}
		delete(got, "ClusterName")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("with what others keep: -want +got:\n%s", diff)
		}
	})
}

func TestConformanceRace(t *testing.T) {
	t.Parallel()
	const writers, each = 16, 4
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		created(t, s)
		first := read(t, s).CurrentWeight
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for range writers {
			other := s.again(t)
			wg.Go(func() {
				for done := 0; done < each; {
					row, err := other.Read(ctx)
					if err != nil {
						t.Errorf("Read: %v", err)
						return
					}
					next := row
					next.CurrentWeight++
					next.Ramp = store.Ramp{Phase: store.Moving, Message: strconv.Itoa(next.CurrentWeight)}
					switch err := other.Acknowledge(ctx, row, next); {
					case err == nil:
						done++
					case !errors.Is(err, store.ErrConflict):
						t.Errorf("Acknowledge: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		want := store.Row{
			ClusterName: cluster, DesiredWeight: 50, CurrentWeight: first + writers*each,
			Ramp: store.Ramp{Phase: store.Moving, Message: strconv.Itoa(first + writers*each)},
		}
		wantRow(t, s, "no update is lost", want)
	})
}

func TestConformanceContext(t *testing.T) {
	t.Parallel()
	conform(t, func(t *testing.T, s subject) {
		t.Helper()
		row := created(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		next := row
		next.CurrentWeight = 50
		_, err := s.Read(ctx)
		wantError(t, err, context.Canceled)
		wantError(t, s.Create(ctx, row), context.Canceled)
		wantError(t, s.Acknowledge(ctx, row, next), context.Canceled)
		wantError(t, s.Desire(ctx, 60), context.Canceled)
		wantRow(t, s, "nothing was written", row)
	})
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", " "} {
		_, err := store.NewStatic(name, 50)
		wantError(t, err, store.ErrInvalid, "cluster name is empty")
		_, err = store.NewDynamoDB(nil, "weights", name, store.Options{})
		wantError(t, err, store.ErrInvalid, "cluster name is empty")
		_, err = store.NewDynamoDB(nil, name, cluster, store.Options{})
		wantError(t, err, store.ErrInvalid, "table name is empty")
		_, err = store.NewConfigMap(nil, configMapName, name, store.Options{})
		wantError(t, err, store.ErrInvalid, "cluster name is empty")
	}
	_, err := store.NewConfigMap(nil, configMapName, cluster, store.Options{})
	if err != nil {
		t.Error(err)
	}
	_, err = store.NewStatic(cluster, -1)
	wantError(t, err, store.ErrInvalid, "negative")
}
