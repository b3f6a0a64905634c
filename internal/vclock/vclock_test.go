package vclock_test

import (
	"slices"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/internal/vclock"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestWaitingRunsWhatIsDueInOrder(t *testing.T) {
	t.Parallel()
	clock := vclock.New(start)
	var ran []string
	note := func(name string) func() {
		return func() { ran = append(ran, name+" "+clock.Since(start).String()) }
	}
	clock.AfterFunc(3*time.Second, note("third"))
	clock.AfterFunc(time.Second, note("first"))
	clock.AfterFunc(time.Second, note("second"))
	cancel := clock.AfterFunc(2*time.Second, note("cancelled"))
	clock.AfterFunc(time.Minute, note("late"))
	if !cancel() {
		t.Error("the event was not there to be cancelled")
	}
	if cancel() {
		t.Error("an event was cancelled twice")
	}

	at := <-clock.After(5 * time.Second)

	want := []string{"first 1s", "second 1s", "third 3s"}
	if !slices.Equal(ran, want) {
		t.Errorf("ran %q, want %q", ran, want)
	}
	if got := at.Sub(start); got != 5*time.Second {
		t.Errorf("the clock stands at %v after waiting 5 s", got)
	}
}

func TestAnEventMayWait(t *testing.T) {
	t.Parallel()
	clock := vclock.New(start)
	clock.AfterFunc(time.Second, func() { clock.Sleep(10 * time.Second) })
	clock.Sleep(2 * time.Second)
	if got := clock.Since(start); got != 11*time.Second {
		t.Errorf("the clock stands at %v, want 11s: it must not go back", got)
	}
}

func TestEvery(t *testing.T) {
	t.Parallel()
	clock := vclock.New(start)
	runs := 0
	stop := clock.Every(time.Second, func() { runs++ })
	clock.Sleep(3500 * time.Millisecond)
	stop()
	clock.Sleep(time.Minute)
	if runs != 3 {
		t.Errorf("%d runs in 3.5 s, want 3, and none after stop", runs)
	}
}

func TestTimer(t *testing.T) {
	t.Parallel()
	clock := vclock.New(start)
	timer := clock.NewTimer(2 * time.Second)
	clock.Sleep(time.Second)
	select {
	case at := <-timer.C():
		t.Fatalf("fired early, at %v", at)
	default:
	}
	if !timer.Reset(time.Second) {
		t.Error("Reset says the timer was not active")
	}
	clock.Sleep(time.Second)
	if at := <-timer.C(); at.Sub(start) != 2*time.Second {
		t.Errorf("fired at %v, want 2 s", at.Sub(start))
	}
	if timer.Stop() {
		t.Error("Stop says that a fired timer was active")
	}
}
