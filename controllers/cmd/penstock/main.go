// Command penstock is the traffic controller of a cluster, and what people see and change it with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/penstock-dev/penstock/controllers/traffic"
)

// The exit codes: 0 for success.
const (
	failed      = 1
	usageFailed = 64 // EX_USAGE of sysexits.h
)

// gcPercent makes the memory of a controller that of its caches and little more, for CPU, of which it needs next to none.
// https://go.dev/doc/gc-guide#GOGC
const gcPercent = 30

// command is one of the first argument.
type command struct {
	name, about string
	// run parses its arguments, and returns the exit code. An error is told by main.
	run func(ctx context.Context, args []string, out, errOut io.Writer) (int, error)
}

func commands() []command {
	return []command{
		{"controller", "carry the cluster's weight to the records of every Ingress", runController},
		{"status", "show what is desired, served and published, of one cluster or of several", runStatus},
		{"plan", "show what a controller would change in DNS, and why, without writing", runPlan},
		{"set-weight", "say what share of the traffic a cluster is to have", runSetWeight},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// dispatch runs a command and returns the exit code. Arguments that begin with a flag are the controller's, as they were before there were commands.
func dispatch(ctx context.Context, args []string, out, errOut io.Writer) int {
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && args[0] != "-h" && args[0] != "-help" && args[0] != "--help" {
		args = append([]string{"controller"}, args...)
	}
	for _, c := range commands() {
		if len(args) == 0 || args[0] != c.name {
			continue
		}
		code, err := c.run(ctx, args[1:], out, errOut)
		switch {
		case errors.Is(err, flag.ErrHelp):
			return 0
		case err != nil:
			_, _ = fmt.Fprintf(errOut, "penstock %s: %v\n", c.name, err) // nobody is left to be told
		}
		return code
	}
	_, _ = fmt.Fprintln(errOut, "penstock: commands, each with -h:") // as above
	for _, c := range commands() {
		_, _ = fmt.Fprintf(errOut, "  %-12s %s\n", c.name, c.about) // as above
	}
	return usageFailed
}

func runController(ctx context.Context, args []string, _, errOut io.Writer) (int, error) {
	flags := flag.NewFlagSet("penstock controller", flag.ContinueOnError)
	flags.SetOutput(errOut)
	var opts traffic.Options
	opts.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		return usageFailed, err //nolint:wrapcheck // main says which command it is
	}
	if flags.NArg() > 0 {
		return usageFailed, fmt.Errorf("argument %q is no flag", flags.Arg(0))
	}
	if err := opts.Complete(); err != nil {
		return usageFailed, err
	}
	log, err := newLog(opts.LogLevel)
	if err != nil {
		return usageFailed, err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctrl.SetLogger(zapr.NewLogger(log.Desugar()))
	config, err := ctrl.GetConfig()
	if err != nil {
		return failed, fmt.Errorf("kubernetes configuration: %w", err)
	}
	if err := traffic.Run(ctx, config, opts, log); err != nil {
		return failed, err
	}
	return 0, nil
}

// newLog returns a log of JSON lines.
func newLog(level string) (*zap.SugaredLogger, error) {
	config := zap.NewProductionConfig()
	if err := config.Level.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("flag log-level %q: write debug, info, warn or error", level)
	}
	log, err := config.Build()
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return log.Sugar(), nil
}
