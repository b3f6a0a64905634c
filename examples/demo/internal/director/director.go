package director

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-dev/penstock/examples/demo/internal/measure"
	"github.com/penstock-dev/penstock/examples/demo/internal/users"
	"github.com/penstock-dev/penstock/examples/world"
)

// stepTimeout is how long a step may take until it is effective; with the demo's delays it takes about four seconds.
const stepTimeout = time.Minute

// Director runs the demo once. Use [New], [Director.Run] and [Director.Close].
type Director struct {
	opts   Options
	ledger *measure.Ledger
	sites  []*site
	route  *route53
}

// New starts everything that a run needs, but the users. It lives no longer than ctx, and a Director that is returned must be closed.
func New(ctx context.Context, opts Options) (d *Director, err error) {
	d = &Director{opts: opts, ledger: measure.New(time.Second, time.Now)}
	defer func() { //nolint:contextcheck // what was started is ended even when ctx is over
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.route, err = newRoute53(opts.Seed); err != nil { //nolint:contextcheck // what was started is ended even when ctx is over
		return nil, err
	}
	for i, name := range clusterNames {
		s, err := newSite(ctx, name, opts.Weights[i], opts, d.ledger, d.route)
		if err != nil {
			return nil, err
		}
		d.sites = append(d.sites, s)
	}
	return d, nil
}

// Report returns what has been intended and measured until now.
func (d *Director) Report() measure.Report { return d.ledger.Report() }

// Cluster returns the cluster of a name, or nil.
func (d *Director) Cluster(name string) *world.Cluster {
	for _, s := range d.sites {
		if s.name == name {
			return s.cluster
		}
	}
	return nil
}

// Check returns everything that went otherwise than it should in a finished run.
func (d *Director) Check() []error {
	errs := d.ledger.Report().Check(d.opts.leastTrials())
	want := flaggerv1.CanaryPhaseSucceeded
	if d.opts.Fail {
		want = flaggerv1.CanaryPhaseFailed
	}
	for _, s := range d.sites {
		if phase := s.flagger.Phase(); phase != want {
			errs = append(errs, fmt.Errorf("the canary of cluster %s ended in phase %s, not in %s", s.name, phase, want))
		}
	}
	return errs
}

// Run lets the canaries run: that of the first cluster begins, that of the second follows when the first is at its last step. changed
// is called, on the caller's goroutine, when a stage becomes effective and when it ends.
func (d *Director) Run(ctx context.Context, changed func(measure.Report)) error {
	crowd := &users.Crowd{
		Users: d.opts.Users, Pause: TTL / 4, Host: Host, Seed: d.opts.Seed, Ledger: d.ledger,
		Resolver: &users.Resolver{Server: d.route.dnsAddress()},
		Dial:     map[netip.Addr]string{},
	}
	for _, s := range d.sites {
		maps.Copy(crowd.Dial, s.dial)
	}
	// Users come once there is something to resolve.
	if err := d.effective(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error { crowd.Run(ctx); return nil })
	err := d.rounds(ctx, changed)
	d.ledger.End()
	cancel()
	return errors.Join(err, group.Wait())
}

// rounds goes through the stages: in each, the clusters whose turn it is make one step of their canaries.
func (d *Director) rounds(ctx context.Context, changed func(measure.Report)) error {
	for round := 0; ; round++ {
		active := d.turn(round)
		if round > 0 && len(active) == 0 {
			return nil
		}
		clusters, intended := d.intention()
		d.ledger.Begin("on the way", clusters, intended)
		if last := d.sites[len(d.sites)-1]; slices.Contains(active, last) && !last.started() {
			for i, weight := range d.opts.Reweight {
				d.sites[i].setWeight(weight)
			}
		}
		if err := d.advance(ctx, active); err != nil {
			return err
		}
		d.update(active)
		if err := d.effective(ctx); err != nil {
			return err
		}
		d.ledger.Steady()
		changed(d.Report())
		if err := wait(ctx, d.opts.Measure); err != nil {
			return err
		}
		d.ledger.End()
		changed(d.Report())
	}
}

// turn returns the clusters that make a step in a round. In the first round nobody does. A canary begins when the one before it is at its
// last step, or is over.
func (d *Director) turn(round int) []*site {
	var active []*site
	for i, s := range d.sites {
		begins := i == 0 || d.sites[i-1].finished() || d.sites[i-1].canaryWeight == d.opts.Steps[len(d.opts.Steps)-1]
		if round > 0 && !s.finished() && (begins || s.started()) {
			active = append(active, s)
		}
	}
	return active
}

// advance lets Flagger tick in clusters, side by side, until each has made a step.
func (d *Director) advance(ctx context.Context, active []*site) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range d.sites {
		group.Go(func() error {
			if slices.Contains(active, s) {
				return s.advance(ctx)
			}
			if err := s.flagger.Tick(ctx); err != nil { // nothing new there, but Flagger looks
				return fmt.Errorf("canary of cluster %s, phase %s: %w", s.name, s.flagger.Phase(), err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("advance the canaries: %w", err)
	}
	return nil
}

// update says what is intended now that Flagger has set weights.
func (d *Director) update(active []*site) {
	var parts []string
	for _, s := range active {
		switch phase := s.flagger.Phase(); phase {
		case flaggerv1.CanaryPhaseSucceeded:
			parts = append(parts, s.name+" promoted")
		case flaggerv1.CanaryPhaseFailed:
			parts = append(parts, s.name+" rolled back")
		default:
			parts = append(parts, fmt.Sprintf("%s at %d %%", s.name, s.canaryWeight))
		}
	}
	title := strings.Join(parts, ", ")
	if title == "" {
		title = "nothing moves"
	}
	clusters, intended := d.intention()
	d.ledger.Update(title, clusters, intended)
}

func (d *Director) intention() ([]measure.ClusterState, measure.Shares) {
	var clusters []measure.ClusterState
	versions := map[string]*site{}
	for _, s := range d.sites {
		clusters = append(clusters, s.state(s.flagger.Phase(), s.canaryWeight))
		versions[s.name] = s
	}
	return clusters, measure.Intend(clusters, func(cluster string) (primary, canary string) { return versions[cluster].versions() })
}

// effective returns once the records that are submitted to Route 53 have been those that are intended for as long as they need to be in
// sync and to replace what resolvers hold.
func (d *Director) effective(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	const need = SyncDelay + TTL + 200*time.Millisecond
	var since time.Time
	var off error
	for {
		served, err := d.route.shares()
		if err == nil {
			off = d.compare(served)
		}
		switch {
		case err != nil || off != nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= need:
			return nil
		}
		if waitErr := wait(ctx, 50*time.Millisecond); waitErr != nil {
			return fmt.Errorf("records did not become what is intended: %w", errors.Join(waitErr, err, off, d.controllers()))
		}
	}
}

// controllers returns what is wrong with the traffic controllers.
func (d *Director) controllers() error {
	var errs []error
	for _, s := range d.sites {
		errs = append(errs, s.controllerProblem())
	}
	return errors.Join(errs...)
}

// compare returns an error if records do not say what is intended.
func (d *Director) compare(served map[string]clusterShare) error {
	clusters, _ := d.intention()
	total := 0
	for _, c := range clusters {
		total += c.Record
	}
	for _, c := range clusters {
		s := served[c.Name]
		want := clusterShare{ofAll: float64(c.Record) / float64(total)}
		if d.opts.Mode == Split {
			want.canary = float64(c.Canary) / 100
		}
		if math.Abs(s.ofAll-want.ofAll) > 1e-9 || math.Abs(s.canary-want.canary) > 1e-9 {
			return fmt.Errorf("cluster %s: records give it %.4f of all and its canary %.4f of that, %.4f and %.4f are intended",
				c.Name, s.ofAll, s.canary, want.ofAll, want.canary)
		}
	}
	return nil
}

// Close ends everything.
func (d *Director) Close() error {
	var errs []error
	for _, s := range d.sites {
		errs = append(errs, s.close())
	}
	if d.route != nil {
		errs = append(errs, d.route.close())
	}
	return errors.Join(errs...)
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s: %w", d, ctx.Err())
	}
}
