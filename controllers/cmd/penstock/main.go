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
	"slices"
	"syscall"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
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
	if len(args) > 0 {
		switch first := args[0]; {
		case slices.Contains([]string{"help", "-h", "-help", "--help"}, first):
			return listCommands(out, 0)
		case slices.Contains([]string{"version", "-version", "--version"}, first):
			return showVersion(args[1:], out, errOut)
		case len(first) > 1 && first[0] == '-':
			args = append([]string{"controller"}, args...)
		}
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
	if len(args) > 0 {
		_, _ = fmt.Fprintf(errOut, "penstock: no command %q\n", args[0]) // as above
	}
	return listCommands(errOut, usageFailed)
}

func showVersion(args []string, out, errOut io.Writer) int {
	if len(args) > 0 {
		_, _ = fmt.Fprintf(errOut, "penstock version: argument %q: version takes none\n", args[0]) // nobody is left to be told
		return usageFailed
	}
	_, _ = fmt.Fprintln(out, "penstock", traffic.Version()) // as above
	return 0
}

// listCommands returns a code.
func listCommands(out io.Writer, code int) int {
	_, _ = fmt.Fprintln(out, "penstock: commands, each with -h:") // nobody is left to be told
	for _, c := range commands() {
		_, _ = fmt.Fprintf(out, "  %-12s %s\n", c.name, c.about) // as above
	}
	_, _ = fmt.Fprintf(out, "  %-12s %s\n", "version", "show the version") // as above
	return code
}

const controllerHelp = `Usage: penstock controller --cluster-name NAME [flags]

Carries the cluster's weight from its store to the DNS records of every Ingress, until it is told to end.
`

func runController(ctx context.Context, args []string, out, _ io.Writer) (int, error) {
	flags := flag.NewFlagSet("penstock controller", flag.ContinueOnError)
	var opts traffic.Options
	opts.AddFlags(flags)
	rest, err := parse(flags, controllerHelp, args, out)
	if err != nil {
		return usageFailed, err
	}
	if len(rest) > 0 {
		return usageFailed, fmt.Errorf("argument %q is no flag", rest[0])
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
	parsed, err := zapcore.ParseLevel(level)
	if err != nil || parsed > zapcore.ErrorLevel { // those above end the process that logs, or say nothing at all
		return nil, fmt.Errorf("flag log-level %q: write debug, info, warn or error", level)
	}
	config := zap.NewProductionConfig()
	config.Level.SetLevel(parsed)
	log, err := config.Build()
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return log.Sugar(), nil
}
