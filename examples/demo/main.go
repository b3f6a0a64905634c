// Demo shows Penstock's main job in one process: two clusters with a canary in each, Route 53 above them, and users all the time. The
// canaries shift service weight, by Skipper or by DNS, and cluster weight, by DNS; what users get is measured and compared with what is
// intended.
//
//	go run ./demo -h
//
// Everything listens on loopback. The demo exits with 0 if every share over independent resolutions is as intended, no request failed
// that should not, and each canary ended as it should; with 1 if not; with 2 if its flags make no sense.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/penstock-dev/penstock/examples/demo/internal/director"
	"github.com/penstock-dev/penstock/examples/demo/internal/show"
	"github.com/penstock-dev/penstock/examples/world"
)

// The exit codes.
const (
	exitGood  = 0
	exitBad   = 1
	exitUsage = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, term.IsTerminal(int(os.Stdout.Fd())))
	stop()
	os.Exit(code)
}

// run is the demo; it returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer, terminal bool) int {
	opts, svg, err := parse(args, errOut)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitGood
	case err != nil:
		_, _ = fmt.Fprintf(errOut, "demo: %v\n", err)
		return exitUsage
	}
	world.QuietSkipper(nil)
	if err := play(ctx, opts, svg, newScreen(out, terminal)); err != nil {
		_, _ = fmt.Fprintf(errOut, "demo: %v\n", err)
		return exitBad
	}
	return exitGood
}

// play runs the demo and shows it. The error says everything that went otherwise than it should.
func play(ctx context.Context, opts director.Options, svg string, screen *screen) (err error) {
	d, err := director.New(ctx, opts)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }() //nolint:contextcheck // what was started is ended even when ctx is over
	return direct(ctx, d, opts, svg, screen)
}

func direct(ctx context.Context, d *director.Director, opts director.Options, svg string, screen *screen) error {
	if err := screen.say(introduction(opts)); err != nil {
		return err
	}
	if err := screen.follow(ctx, d); err != nil {
		return err
	}
	report := d.Report()
	if err := screen.say("\n" + show.Table(report) + "\n"); err != nil {
		return err
	}
	if svg != "" {
		picture := show.Chart(report, "A canary in each of two clusters, measured on real requests", caption(opts))
		if err := os.WriteFile(svg, []byte(picture), 0o644); err != nil { //nolint:gosec // a picture for everybody
			return fmt.Errorf("write the picture: %w", err)
		}
		if err := screen.say("The picture of shares over time is in " + svg + "\n"); err != nil {
			return err
		}
	}
	if errs := d.Check(); len(errs) > 0 {
		return fmt.Errorf("not as it should be:\n%w", errors.Join(errs...))
	}
	return screen.say("Every share is within 4.5 standard errors of what was intended, no request failed that should not, and each canary ended as it should.\n")
}

// parse reads flags. svg is where the picture goes; empty means nowhere.
func parse(args []string, errOut io.Writer) (opts director.Options, svg string, err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(errOut)
	opts = director.Options{Mode: director.Shared}
	flags.BoolVar(&opts.Fail, "fail", false, "make the new version answer every fourth request with an error, so that it is rolled back")
	flags.Func("mode", "`mode` in which the router splits: shared (by Skipper; default) or split (in DNS)", func(text string) error {
		opts.Mode = director.Mode(text)
		return nil
	})
	flags.IntVar(&opts.Exposure, "exposure", 0, "`percent` of its weight that a cluster has at the first step of its canary; shared mode only (default 30)")
	weights := flags.String("weights", "60,40", "cluster `weights` in per cent, of east and west")
	reweight := flags.String("reweight", "", "cluster `weights` from the middle of the canaries on; empty means no change")
	steps := flags.String("steps", "10,30,60", "canary `weights` of the steps in per cent")
	flags.Uint64Var(&opts.Seed, "seed", 1, "makes Route 53's choices and the users' pauses the same on each run")
	flags.IntVar(&opts.Users, "users", 250, "how many users there are, each with a DNS cache of its own")
	flags.DurationVar(&opts.Measure, "measure", 4*time.Second, "`duration` for which each step is measured once it is effective")
	flags.StringVar(&svg, "svg", "", "write the picture of shares over time to this `file`")
	if err := flags.Parse(args); err != nil {
		return opts, "", fmt.Errorf("flags: %w", err)
	}
	if flags.NArg() > 0 {
		return opts, "", fmt.Errorf("%q is no flag: see -h", flags.Arg(0))
	}
	var errs [3]error
	opts.Weights, errs[0] = numbers("-weights", *weights)
	opts.Reweight, errs[1] = numbers("-reweight", *reweight)
	opts.Steps, errs[2] = numbers("-steps", *steps)
	if err := errors.Join(errs[:]...); err != nil {
		return opts, "", err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["exposure"] {
		opts.Exposure = 100
		if opts.Mode == director.Shared {
			opts.Exposure = 30
		}
	}
	return opts, svg, opts.Validate()
}

// numbers reads whole numbers that are divided by commas; none from an empty text.
func numbers(name, text string) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	var list []int
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %q is no whole number: write numbers divided by commas, such as 60,40", name, text, field)
		}
		list = append(list, n)
	}
	return list, nil
}

// introduction says what is going to be seen, and what is faster than in production.
func introduction(o director.Options) string {
	split := "Skipper splits between versions inside each cluster."
	if o.Exposure < 100 {
		split += fmt.Sprintf("\nAt the first step of its canary a cluster takes part with %d %% of its weight (exposure).", o.Exposure)
	}
	if o.Mode == director.Split {
		split = "DNS splits between versions, each behind a load balancer of its own."
	}
	end := "Both canaries are good and will be promoted."
	if o.Fail {
		end = "The new version fails every fourth request: both canaries will be rolled back."
	}
	return fmt.Sprintf(`Two clusters, east and west, serve %s with cluster weights %s.
%s
%s
%d users resolve the host by DNS, keep the answer for its TTL, and send requests.
Shares are measured over first requests after a resolution, which are independent.
Faster than in production: Skipper polls every %s (settled after %s),
Route 53 is in sync after %s, the TTL is %s.

`, director.Host, join(o.Weights, ":"), split, end, o.Users, director.Poll, director.Settle, director.SyncDelay, director.TTL)
}

func caption(o director.Options) string {
	text := fmt.Sprintf("mode %s, cluster weights %s, %d users; TTL %s, INSYNC after %s, Skipper polls every %s",
		o.Mode, join(o.Weights, ":"), o.Users, director.TTL, director.SyncDelay, director.Poll)
	if o.Exposure < 100 {
		text += fmt.Sprintf(", exposure from %d %%", o.Exposure)
	}
	return text
}

func join(list []int, separator string) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(list), "[]"), " ", separator)
}
