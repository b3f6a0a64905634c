package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/penstock-dev/penstock/examples/demo/internal/director"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFlags(t *testing.T) {
	t.Parallel()
	usual := director.Options{
		Mode: director.Shared, Exposure: 30, Weights: []int{60, 40}, Steps: []int{10, 30, 60}, Seed: 1, Users: 250, Measure: 4 * time.Second,
	}
	with := func(change func(o *director.Options)) director.Options {
		o := usual
		change(&o)
		return o
	}
	for name, tc := range map[string]struct {
		reason  string
		args    string
		want    director.Options
		wantErr string
	}{
		"None":   {reason: "The demo runs without flags.", want: usual},
		"Fail":   {reason: "A failing canary.", args: "-fail", want: with(func(o *director.Options) { o.Fail = true })},
		"Split":  {reason: "Split mode has no exposure.", args: "-mode split", want: with(func(o *director.Options) { o.Mode, o.Exposure = director.Split, 100 })},
		"Shared": {reason: "Exposure can be set.", args: "-mode shared -exposure 20", want: with(func(o *director.Options) { o.Exposure = 20 })},
		"Lists": {
			reason: "Weights and steps are lists.", args: "-weights 70,30 -reweight 20,80 -steps 5,50",
			want: with(func(o *director.Options) { o.Weights, o.Reweight, o.Steps = []int{70, 30}, []int{20, 80}, []int{5, 50} }),
		},
		"Rest": {
			reason: "Seed, users and time.", args: "-seed 7 -users 10 -measure 2s",
			want: with(func(o *director.Options) { o.Seed, o.Users, o.Measure = 7, 10, 2*time.Second }),
		},
		"Unknown mode":         {reason: "A mode is one of two.", args: "-mode both", wantErr: `-mode "both"`},
		"Exposure and split":   {reason: "Split mode has no exposure.", args: "-mode split -exposure 20", wantErr: "-exposure 20: split mode has no exposure"},
		"Exposure of nothing":  {reason: "Nothing could be measured.", args: "-exposure 0", wantErr: "-exposure 0: it is from 1 to 100"},
		"Three weights":        {reason: "There are two clusters.", args: "-weights 1,2,3", wantErr: "-weights: 3 weights for 2 clusters"},
		"Weight of zero":       {reason: "Nothing could be measured.", args: "-weights 0,40", wantErr: "-weights [0 40]"},
		"Reweight of one":      {reason: "There are two clusters.", args: "-reweight 1", wantErr: "-reweight: 1 weights for 2 clusters"},
		"Words":                {reason: "Weights are numbers.", args: "-weights many,few", wantErr: `-weights "many,few": "many" is no whole number`},
		"Steps back":           {reason: "A canary only grows.", args: "-steps 30,10", wantErr: "-steps [30 10]: they are ascending"},
		"Step twice":           {reason: "A step must change something.", args: "-steps 30,30", wantErr: "-steps [30 30]: they are ascending"},
		"No steps":             {reason: "A canary has steps.", args: "-steps=", wantErr: "-steps []: they are ascending"},
		"Nobody":               {reason: "Without users nothing is measured.", args: "-users 0", wantErr: "-users 0"},
		"No time":              {reason: "Without time nothing is measured.", args: "-measure 10ms", wantErr: "-measure 10ms"},
		"Argument":             {reason: "There are flags only.", args: "now", wantErr: `"now" is no flag`},
		"Unknown flag":         {reason: "And these only.", args: "-loud", wantErr: "-loud"},
		"Everything is wrong":  {reason: "All that is wrong is said at once.", args: "-mode x -users 0", wantErr: "-users 0"},
		"Seed without numbers": {reason: "A seed is a number.", args: "-seed x", wantErr: "-seed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, svg, err := parse(strings.Fields(tc.args), &bytes.Buffer{})
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("%s\nparse(%q): %v, want an error that says %q", tc.reason, tc.args, err, tc.wantErr)
				}
				return
			}
			if err != nil || svg != "" {
				t.Fatalf("%s\nparse(%q): svg %q, %v", tc.reason, tc.args, svg, err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nparse(%q) -want +got:\n%s", tc.reason, tc.args, diff)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"-users", "0"}, &out, &errOut, false); code != exitUsage {
		t.Errorf("a flag that makes no sense exits with %d, want %d", code, exitUsage)
	}
	if !strings.Contains(errOut.String(), "-users 0") || out.Len() > 0 {
		t.Errorf("it said %q and %q, want the flag to be named on standard error", out.String(), errOut.String())
	}
	errOut.Reset()
	if code := run(t.Context(), []string{"-h"}, &out, &errOut, false); code != exitGood {
		t.Errorf("-h exits with %d, want %d", code, exitGood)
	}
	for _, flag := range []string{"-fail", "-mode", "-exposure", "-weights", "-reweight", "-steps", "-seed", "-svg"} {
		if !strings.Contains(errOut.String(), flag) {
			t.Errorf("-h does not tell of %s", flag)
		}
	}
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var out, errOut bytes.Buffer
	out.Grow(1 << 16)
	timer := time.AfterFunc(2*time.Second, cancel)
	defer timer.Stop()
	if code := run(ctx, []string{"-users", "5"}, &out, &errOut, false); code != exitBad {
		t.Errorf("an interrupted demo exits with %d, want %d", code, exitBad)
	}
	if !strings.Contains(errOut.String(), context.Canceled.Error()) {
		t.Errorf("it said %q, want the reason", errOut.String())
	}
}
