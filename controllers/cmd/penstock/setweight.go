package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/controllers/traffic"
)

const setWeightHelp = `Usage: penstock set-weight CLUSTER N --backend-type configmap|dynamoDB [flags]

Writes N, a whole number from 0 to 100, as the DesiredWeight of a cluster into the store, and says what was desired
before. The cluster's controller carries it to DNS. A gradual move to N that gates have taken back is begun anew. With
--wait it shows the way until N is effective: every name server answers with it, and no resolver can hold an earlier
answer. An interrupt ends the waiting only: the wish stays in the store.

Exit codes: 0 if the wish was written and, with --wait, is effective; 1 if not, if the move was rolled back, or if --timeout
passed; 64 for wrong arguments; 130 if the waiting was interrupted.

Examples:
  # drain a cluster whose row is in the DynamoDB table, and wait until no traffic is led to it
  penstock set-weight east 0 --backend-type dynamoDB --table-name traffic-controller --aws-region eu-west-1 --wait

  # the weight is in a ConfigMap of the cluster
  penstock set-weight west 50 --backend-type configmap --context west --namespace penstock
`

const (
	// interrupted is the exit code that shells give what SIGINT ended: 128 and its number.
	// https://www.gnu.org/software/bash/manual/html_node/Exit-Status.html
	interrupted = 130
	// pollEvery is how long until the store is read again: DynamoDB counts each read, and no step takes less than a second.
	pollEvery = 2 * time.Second
	// callTimeout bounds one call of a store.
	callTimeout = 15 * time.Second
)

type setWeightOptions struct {
	cluster string
	weight  int
	wait    bool
	timeout time.Duration
}

func runSetWeight(ctx context.Context, args []string, out, _ io.Writer) (int, error) {
	var opts traffic.Options
	all := flag.NewFlagSet("", flag.ContinueOnError)
	opts.AddFlags(all)
	flags := flag.NewFlagSet("penstock set-weight", flag.ContinueOnError)
	all.VisitAll(func(f *flag.Flag) { // those of the store are the controller's, with its defaults
		if slices.Contains([]string{"table-name", "aws-region", "configmap"}, f.Name) {
			flags.Var(f.Value, f.Name, f.Usage)
		}
	})
	flags.StringVar(&opts.Store, "backend-type", "", "`store` of the weight, as the controller has it: configmap or dynamoDB; needed")
	flags.StringVar(&opts.Namespace, "namespace", "", namespaceUsage)
	path := flags.String("kubeconfig", "", "configmap: `path` of the kubeconfig; empty is that of KUBECONFIG, of the home directory, or the Pod's own access")
	kubeContext := flags.String("context", "", "configmap: `name` of the kubeconfig context; empty is the current one")
	o, err := parseSetWeight(flags, args, out)
	if err != nil {
		return usageFailed, err
	}
	switch opts.Store {
	case "":
		return usageFailed, errors.New("flag backend-type is missing: write configmap or dynamoDB, as the controller has it")
	case traffic.StoreFake:
		return usageFailed, fmt.Errorf("flag backend-type %q: such a weight is the flag initial-weight of the controller, which nobody else can change: "+
			"write configmap or dynamoDB, as the controller has it", opts.Store)
	}
	opts.ClusterName = o.cluster
	if err := opts.Complete(); err != nil {
		return usageFailed, err
	}
	var kube kubernetes.Interface
	if opts.Store == traffic.StoreConfigMap {
		config, namespace, err := kubeconfig(*path, *kubeContext)
		if err != nil {
			return failed, err
		}
		if opts.Namespace == "" {
			opts.Namespace = namespace
		}
		if kube, err = kubernetes.NewForConfig(config); err != nil {
			return failed, fmt.Errorf("kubernetes client: %w", err)
		}
	}
	weights, err := traffic.OpenStore(kube, opts)
	if err != nil {
		return failed, err
	}
	return setWeight(ctx, weights, o, newScreen(out), clock.RealClock{})
}

func parseSetWeight(flags *flag.FlagSet, args []string, out io.Writer) (setWeightOptions, error) {
	var o setWeightOptions
	flags.BoolVar(&o.wait, "wait", false, "wait until the weight is effective")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Minute, "wait: how `long` at most")
	rest, err := parse(flags, setWeightHelp, args, out)
	switch {
	case err != nil:
		return o, err
	case len(rest) != 2:
		return o, fmt.Errorf("arguments %q: write the cluster's name and its weight, such as: penstock set-weight east 50", rest)
	case rest[0] == "":
		return o, errors.New(`argument CLUSTER "": write the cluster's name, as in its row`)
	case o.timeout <= 0:
		return o, fmt.Errorf("flag timeout %s: write a time above 0", o.timeout)
	}
	o.cluster = rest[0]
	weight, err := strconv.Atoi(rest[1])
	// Atoi takes signs, which nobody means: +5 may be meant as a difference.
	if err != nil || weight < 0 || weight > 100 || strings.ContainsAny(rest[1], "+-") {
		return o, fmt.Errorf("argument N %q: write a whole number of per cent from 0 to 100; nothing was changed", rest[1])
	}
	o.weight = weight
	return o, nil
}

// setWeight writes the wish, and waits for it if that is asked for. The exit code is about the wish: text that cannot be written is told, and nothing more.
func setWeight(ctx context.Context, weights store.Store, o setWeightOptions, out screen, clock clock.Clock) (int, error) {
	text := &tolerant{Writer: out.Writer}
	out.Writer = text
	code, err := carryOut(ctx, weights, o, out, clock)
	if text.err != nil {
		err = errors.Join(err, fmt.Errorf("not all that is to be said could be written: %w", text.err))
	}
	return code, err
}

// tolerant is a writer that keeps its first error, and after it writes nothing.
type tolerant struct {
	io.Writer

	err error
}

// Write implements io.Writer.
func (t *tolerant) Write(text []byte) (int, error) {
	if t.err == nil {
		_, t.err = t.Writer.Write(text)
	}
	return len(text), nil
}

func carryOut(ctx context.Context, weights store.Store, o setWeightOptions, out screen, clock clock.Clock) (int, error) {
	before, readErr := read(ctx, weights)
	was := fmt.Sprintf("was %d", before.DesiredWeight)
	switch {
	case errors.Is(readErr, store.ErrNotFound):
		return failed, noRow(o, readErr)
	case errors.Is(readErr, store.ErrInvalid): // a weight that cannot be read is mended by one that can
		was = fmt.Sprintf("what was before cannot be read: %v", readErr)
	case readErr != nil:
		return failed, fmt.Errorf("read what cluster %s has now: %w; nothing was changed", o.cluster, readErr)
	}
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch err := weights.Desire(bounded, o.weight); {
	case errors.Is(err, store.ErrNotFound):
		return failed, noRow(o, err)
	case err != nil:
		return failed, fmt.Errorf("write DesiredWeight %d of cluster %s: %w", o.weight, o.cluster, err)
	}
	text := fmt.Sprintf("cluster %s: DesiredWeight is %d, %s", o.cluster, o.weight, was)
	if readErr != nil {
		before.CurrentWeight = store.Unknown
	} else if before.CurrentWeight != store.Unknown {
		text += fmt.Sprintf("; CurrentWeight is %d", before.CurrentWeight)
		if before.Moves() && before.Ramp.Weight != before.CurrentWeight {
			text += fmt.Sprintf(", and %d is published", before.Ramp.Weight)
		}
	}
	if _, err := fmt.Fprintln(out, clean(text)); err != nil {
		return failed, fmt.Errorf("write: %w", err)
	}
	if readErr != nil {
		switch _, err := read(ctx, weights); {
		case errors.Is(err, store.ErrInvalid):
			return failed, fmt.Errorf("the controller of cluster %s will refuse the row as it is: %w", o.cluster, err)
		case err != nil:
			return failed, fmt.Errorf("the row of cluster %s was written, and could not be read again to see whether it is whole now: %w", o.cluster, err)
		}
	}
	if readErr == nil && rolledBack(before, o.weight) {
		before.DesiredWeight = o.weight // as it was written
		if err := beginAnew(bounded, weights, before, o, out); err != nil {
			return failed, err
		}
	}
	if !o.wait {
		return 0, nil
	}
	w := &waiting{setWeightOptions: o, from: before.CurrentWeight, out: out}
	code, err := w.wait(ctx, weights, clock)
	return code, errors.Join(err, w.end())
}

// rolledBack tells whether a gradual move to a weight was taken back by gates, and will not be tried again by itself: nor if something else was desired
// meanwhile, and no controller has seen that.
func rolledBack(row store.Row, weight int) bool {
	return row.Ramp.Phase == store.RolledBack && row.Ramp.To == weight
}

// beginAnew forgets a move that was taken back, so that the controller asks the gates again at once. While the way back is not served, nobody knows where
// a new move would begin.
func beginAnew(ctx context.Context, weights store.Store, before store.Row, o setWeightOptions, out screen) error {
	if before.CurrentWeight != before.Ramp.Weight {
		return fmt.Errorf("the move of cluster %s to %d was rolled back, and the way back to %d is not served yet: try again when CurrentWeight is %d",
			o.cluster, o.weight, before.Ramp.Weight, before.Ramp.Weight)
	}
	anew := before
	anew.Ramp = store.Ramp{}
	err := weights.Acknowledge(ctx, before, anew)
	if errors.Is(err, store.ErrConflict) { // the controller has seen the wish in between, perhaps, and goes on by itself
		now, readErr := read(ctx, weights)
		if readErr == nil && now.DesiredWeight == o.weight && !rolledBack(now, o.weight) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("begin the move of cluster %s to %d anew: %w; try again", o.cluster, o.weight, err)
	}
	if _, err := fmt.Fprintf(out, "cluster %s: the move to %d, which was rolled back, begins anew at %d\n", clean(o.cluster), o.weight, before.CurrentWeight); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func noRow(o setWeightOptions, err error) error {
	return fmt.Errorf("cluster %s has no row: %w: its controller makes the row when it starts; look at the name, and at the flags of the store", o.cluster, err)
}

func read(ctx context.Context, weights store.Store) (store.Row, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return weights.Read(ctx)
}

// waiting shows how far a wish is.
type waiting struct {
	setWeightOptions

	from int // CurrentWeight when it began, or store.Unknown
	out  screen

	shown string // the line that stands
	open  bool   // no line feed follows it yet
}

// wait returns when the wish is effective, or cannot be expected to be.
func (w *waiting) wait(ctx context.Context, weights store.Store, clock clock.Clock) (int, error) {
	until := clock.Now().Add(w.timeout)
	for {
		var last string
		row, err := read(ctx, weights)
		if ctx.Err() != nil {
			return w.stop()
		}
		switch {
		case err != nil: // it may pass
			last = clean("the store cannot be read: " + err.Error())
			if errors.Is(err, store.ErrNotFound) {
				last = "the row is gone, and a controller that leads makes it again"
			}
			if err := w.show(last); err != nil {
				return failed, err
			}
		default:
			if w.from == store.Unknown {
				w.from = row.CurrentWeight
			}
			last = w.progress(row)
			if err := w.show(last); err != nil {
				return failed, err
			}
			if done, err := w.done(row); done {
				if err != nil {
					return failed, err
				}
				return 0, nil
			}
		}
		left := until.Sub(clock.Now())
		switch {
		case left > 0:
		case errors.Is(err, store.ErrNotFound):
			return failed, fmt.Errorf("the row of cluster %s is gone, and no controller has made it again in %s: %w", w.cluster, w.timeout, err)
		default:
			return failed, fmt.Errorf("weight %d of cluster %s is not effective after %s, and stays desired: %s; penstock status says which hosts are waited for",
				w.weight, w.cluster, w.timeout, last)
		}
		select {
		case <-ctx.Done():
			return w.stop()
		case <-clock.After(min(pollEvery, left)):
		}
	}
}

// done tells whether there is nothing to wait for any more, and why that is not the wish.
func (w *waiting) done(row store.Row) (bool, error) {
	switch {
	case row.DesiredWeight != w.weight:
		return true, fmt.Errorf("somebody has set DesiredWeight of cluster %s to %d meanwhile, so %d is not waited for any more", w.cluster, row.DesiredWeight, w.weight)
	case w.effective(row):
		return true, nil
	case rolledBack(row, w.weight):
		return true, fmt.Errorf("the move of cluster %s to %d was rolled back: %s", w.cluster, w.weight, clean(row.Ramp.Message))
	}
	return false, nil
}

// effective tells whether the wish is. While the row moves, another weight is published than the one that was acknowledged last, even if that is the wish, or
// resolvers may hold another: the controller has not seen it yet, DNS does not answer with it, or has not done so for long.
func (w *waiting) effective(row store.Row) bool { return row.CurrentWeight == w.weight && !row.Moves() }

func (w *waiting) stop() (int, error) {
	return interrupted, fmt.Errorf("interrupted: the waiting ends, and the wish stays: DesiredWeight of cluster %s is %d until somebody sets another", w.cluster, w.weight)
}

// bar is how many characters the way has.
const bar = 20

func (w *waiting) progress(row store.Row) string {
	way, gone := w.weight-w.from, row.CurrentWeight-w.from
	if way < 0 {
		way, gone = -way, -gone
	}
	filled := bar
	if !w.effective(row) {
		filled = min(max(gone, 0)*bar/max(way, 1), bar-1)
	}
	_, current := weightsOf(&row, "")
	text := fmt.Sprintf("[%s%s] current %s of %d", strings.Repeat("#", filled), strings.Repeat("-", bar-filled), current, w.weight)
	r := row.Ramp
	switch {
	case r.Phase == "":
		return text
	case whole(r):
		text += ", change"
	default:
		text += fmt.Sprintf(", ramp %s at %d", clean(string(r.Phase)), r.Weight)
	}
	if r.Message != "" {
		text += ": " + clean(r.Message)
	}
	return text
}

// show writes a line if it says something new, over the last one where that can be done.
func (w *waiting) show(line string) error {
	if width := w.out.width(); w.out.redraw && width > 1 {
		line = cut(line, width-1) // a full line would wrap, and then not be written over
	}
	if line == w.shown {
		return nil
	}
	w.shown = line
	text := line + "\n"
	if w.out.redraw {
		w.open = true
		text = clearLine + line
	}
	if _, err := io.WriteString(w.out, text); err != nil {
		return fmt.Errorf("write the progress: %w", err)
	}
	return nil
}

// end leaves the cursor on a line of its own.
func (w *waiting) end() error {
	if !w.open {
		return nil
	}
	w.open = false
	if _, err := io.WriteString(w.out, "\n"); err != nil {
		return fmt.Errorf("write the progress: %w", err)
	}
	return nil
}
