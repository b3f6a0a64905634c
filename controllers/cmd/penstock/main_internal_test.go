package main

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"github.com/penstock-dev/penstock/controllers/store"
)

// Help and the version are answers, on the standard output. What is wrong is one line on the other, whatever the format of the answer would be.
func TestDispatch(t *testing.T) {
	t.Parallel()
	for arguments, tc := range map[string]struct {
		code        int
		out, errOut string // a part; empty is nothing at all
	}{
		"-h":                              {0, "set-weight   say what share", ""},
		"help":                            {0, "version      show the version", ""},
		"--help":                          {0, "controller   carry", ""},
		"version":                         {0, "penstock (devel) " + runtime.Version(), ""},
		"--version":                       {0, "penstock (devel)", ""},
		"":                                {usageFailed, "", "commands, each with -h"},
		"steer":                           {usageFailed, "", "penstock: no command \"steer\"\npenstock: commands, each with -h"},
		"Controller --cluster-name=x":     {usageFailed, "", `penstock: no command "Controller"`},
		"version x":                       {usageFailed, "", "penstock version: argument \"x\": version takes none\n"},
		"--version -h":                    {usageFailed, "", `argument "-h"`},
		"controller -h":                   {0, "\n  --cluster-name name\n", ""},
		"status -h":                       {0, "\n  -o format\n", ""},
		"controller --clustername=x":      {usageFailed, "", "penstock controller: flag provided but not defined: --clustername: penstock controller -h lists the flags\n"},
		"--clustername=x":                 {usageFailed, "", "penstock controller -h lists the flags\n"},
		"plan --clustername=x -o json":    {usageFailed, "", "penstock plan -h lists the flags\n"},
		"set-weight east 5 --waiting":     {usageFailed, "", "penstock set-weight -h lists the flags\n"},
		"status --wath":                   {usageFailed, "", "penstock status -h lists the flags\n"},
		"controller --poll-interval 20":   {usageFailed, "", "invalid value \"20\" for flag --poll-interval: write a duration such as 20s: penstock controller -h lists the flags\n"},
		"controller --initial-weight=5%":  {usageFailed, "", `for flag --initial-weight: write a whole number`},
		"controller --route53-rate=many":  {usageFailed, "", `for flag --route53-rate: write a number`},
		"controller --dev-mode=maybe":     {usageFailed, "", `for flag --dev-mode: write true or false`},
		"controller --ramp-query-min=low": {usageFailed, "", `for flag --ramp-query-min: write a number`},
		"controller --cluster-name=x --log-level=fatal":   {usageFailed, "", `flag log-level "fatal": write debug`},
		"controller --cluster-name":                       {usageFailed, "", "flag needs an argument: --cluster-name: penstock controller -h lists the flags\n"},
		"controller -o":                                   {usageFailed, "", "not defined: -o:"},
		"controller --cluster-name=x --metrics-addr 8080": {usageFailed, "", "penstock controller: flag metrics-addr \"8080\": write host:port, such as :8080, or 0 for none\n"},
		"controller --cluster-name=east something":        {usageFailed, "", `argument "something" is no flag`},
	} {
		t.Run(arguments, func(t *testing.T) {
			t.Parallel()
			var out, errOut output
			code := dispatch(t.Context(), strings.Fields(arguments), &out, &errOut)
			if code != tc.code || !strings.Contains(out.String(), tc.out) || !strings.Contains(errOut.String(), tc.errOut) ||
				tc.out == "" && out.String() != "" || tc.errOut == "" && errOut.String() != "" {
				t.Errorf("code %d\n%s\n%s", code, out.String(), errOut.String())
			}
			if strings.HasSuffix(tc.errOut, "\n") && strings.Count(errOut.String(), "\n") != 1 {
				t.Errorf("more than a line: %s", errOut.String())
			}
		})
	}
}

// closed is an output that nobody takes.
type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, errors.New("file already closed") }

// A wish is carried out, and waited for, whoever reads what is said about it.
func TestSetWeightWithoutAnOutput(t *testing.T) {
	t.Parallel()
	served := store.Row{ClusterName: "east", DesiredWeight: 80, CurrentWeight: 80}
	rolledBack := store.Row{ClusterName: "east", DesiredWeight: 80, CurrentWeight: 20, Ramp: store.Ramp{Phase: store.RolledBack, From: 20, To: 80, Weight: 20}}
	s := &script{before: rolledBack, rows: []any{served}}
	none := screen{closed{}, func() int { return 0 }, false}
	code, err := setWeight(t.Context(), s, setWeightOptions{cluster: "east", weight: 80, wait: true, timeout: time.Minute}, none, testclock.NewFakeClock(start))
	if code != 0 || err == nil || !strings.Contains(err.Error(), "file already closed") || strings.Count(err.Error(), "file already closed") != 1 {
		t.Errorf("code %d, error %v", code, err)
	}
	if len(s.desired) != 1 || len(s.anew) != 1 || s.reads != 1 {
		t.Errorf("desired %v, begun anew %v, read %d times", s.desired, s.anew, s.reads)
	}
}
