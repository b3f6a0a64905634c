package process_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/e2e/internal/process"
)

const patience = time.Minute

// parentOf names the variable with which this test's program starts a child, says its number, and waits to be killed.
const parentOf = "PROCESS_TEST_CHILD"

func TestMain(m *testing.M) {
	if child := os.Getenv(parentOf); child != "" {
		p, err := process.Start(process.Options{Lines: true}, "/bin/sh", "-c", "echo $$; exec sleep 1000")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		pid, err := p.ReadLine(context.Background())
		fmt.Println(pid, err)
		<-p.Ended()
	}
	os.Exit(m.Run())
}

func shell(t *testing.T, o process.Options, script string) *process.Process {
	t.Helper()
	p, err := process.Start(o, "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func ended(t *testing.T, p *process.Process) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.Ended():
	case <-timer.C:
		t.Fatal("it goes on")
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	log := &bytes.Buffer{}
	p := shell(t, process.Options{Log: log, Lines: true, Env: []string{"WORD=there"}}, "echo hello; echo $WORD; echo log >&2")
	for _, want := range []string{"hello", "there"} {
		if got, err := p.ReadLine(t.Context()); err != nil || got != want {
			t.Errorf("line %q (%v), want %q", got, err, want)
		}
	}
	if line, err := p.ReadLine(t.Context()); err == nil {
		t.Errorf("line %q of a program that has ended", line)
	}
	ended(t, p)
	if log.String() != "log\n" {
		t.Errorf("log %q", log)
	}
}

func TestReadLineObeysItsContext(t *testing.T) {
	t.Parallel()
	p := shell(t, process.Options{Lines: true}, "exec sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if line, err := p.ReadLine(ctx); err == nil {
		t.Errorf("line %q", line)
	}
}

func TestStopAndKill(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script string
		stop   func(*process.Process)
	}{
		"StopClosesStandardInput": {"trap '' TERM; cat >&2", func(p *process.Process) { p.Stop(patience) }},
		"StopSendsSIGTERM":        {"exec sleep 1000", func(p *process.Process) { p.Stop(patience) }},
		"StopKillsInTheEnd":       {"trap '' TERM; echo; while :; do sleep 0.1; done", func(p *process.Process) { p.Stop(time.Millisecond) }},
		"Kill":                    {"trap '' TERM; echo; while :; do sleep 0.1; done", (*process.Process).Kill},
		"Twice":                   {"exec sleep 1000", func(p *process.Process) { p.Kill(); p.Kill(); p.Stop(0) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := shell(t, process.Options{Log: &bytes.Buffer{}}, tc.script)
			tc.stop(p)
			ended(t, p)
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	p := shell(t, process.Options{}, "exec sleep 1000")
	for _, step := range []struct {
		do      func() error
		stopped bool
	}{{p.Pause, true}, {p.Resume, false}, {p.Pause, true}} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(patience); (stateOf(p.PID()) == "T") != step.stopped; <-time.After(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("state %s, want stopped %t", stateOf(p.PID()), step.stopped)
			}
		}
	}
	p.Kill()
	if err := p.Resume(); err == nil {
		t.Error("a program goes on that has ended")
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	if _, err := process.Start(process.Options{}, "/nonexistent"); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("error %v, want one that names the program", err)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	p := shell(t, process.Options{}, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")
	if u := p.Usage(); u.CPU <= 0 || u.MaxMemory < 1<<16 {
		t.Errorf("usage %+v of a program that worked", u)
	}
}

// However the process that started a program ends, the program ends, too.
func TestParentIsKilled(t *testing.T) {
	t.Parallel()
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), parentOf+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid string
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for alive(child) {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("process %d is still there", child)
		}
	}
}

// alive tells whether a process runs: one that has ended may be there until its new parent has taken notice.
func alive(pid int) bool {
	state := stateOf(pid)
	return state != "" && state != "Z"
}

// stateOf returns the state of a process, such as T if it is stopped; empty if there is none.
// https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func stateOf(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}
