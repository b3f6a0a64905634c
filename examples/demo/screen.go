package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/penstock-dev/penstock/examples/demo/internal/director"
	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
	"github.com/penstock-dev/penstock/examples/demo/internal/show"
)

// refresh is how often bars are drawn on a terminal.
const refresh = 250 * time.Millisecond

// screen is where the demo is shown: bars on a terminal, else a line for each event.
type screen struct {
	out      io.Writer
	terminal bool
	live     *show.Live
}

func newScreen(out io.Writer, terminal bool) *screen {
	return &screen{out: out, terminal: terminal, live: show.NewLive(out, func() int { return width(out) })}
}

// width returns how many columns a terminal has, or as many as are usual.
func width(out io.Writer) int {
	if file, ok := out.(*os.File); ok {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil {
			return columns
		}
	}
	return 80
}

// say prints a text that stays.
func (s *screen) say(text string) error {
	if s.terminal {
		return s.live.Print(text)
	}
	if _, err := io.WriteString(s.out, text); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// follow runs the demo to its end and shows it meanwhile.
func (s *screen) follow(ctx context.Context, d *director.Director) error {
	events := make(chan measure.Report)
	done := make(chan error, 1)
	go func() {
		defer close(events)
		done <- d.Run(ctx, func(r measure.Report) { events <- r })
	}()
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	var failed error // of the output: the demo goes on to its end nevertheless
	for {
		var err error
		select {
		case report, ok := <-events:
			switch {
			case !ok:
				if s.terminal && failed == nil {
					failed = s.live.Draw(d.Report(), time.Now())
				}
				if err := <-done; err != nil {
					return fmt.Errorf("run: %w", err)
				}
				return failed
			case !s.terminal:
				err = s.say(show.Line(report, time.Now()))
			}
		case <-tick.C:
			if s.terminal {
				err = s.live.Draw(d.Report(), time.Now())
			}
		}
		if failed == nil {
			failed = err
		}
	}
}
