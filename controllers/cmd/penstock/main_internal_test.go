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
		"-h":                           {0, "set-weight   say what share", ""},
		"help":                         {0, "version      show the version", ""},
		"--help":                       {0, "controller   carry", ""},
		"version":                      {0, "penstock (devel) " + runtime.Version(), ""},
		"--version":                    {0, "penstock (devel)", ""},
		"":                             {usageFailed, "", "commands, each with -h"},
		"steer":                        {usageFailed, "", "commands, each with -h"},
		"controller -h":                {0, "-cluster-name name", ""},
		"controller --clustername=x":   {usageFailed, "", "penstock controller: flag provided but not defined: -clustername: penstock controller -h lists the flags\n"},
		"--clustername=x":              {usageFailed, "", "penstock controller -h lists the flags\n"},
		"plan --clustername=x -o json": {usageFailed, "", "penstock plan -h lists the flags\n"},
		"set-weight east 5 --waiting":  {usageFailed, "", "penstock set-weight -h lists the flags\n"},
		"status --wath":                {usageFailed, "", "penstock status -h lists the flags\n"},
		"controller --cluster-name=east something": {usageFailed, "", `argument "something" is no flag`},
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
