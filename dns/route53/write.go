package route53

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	ktypes "k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
)

// maxRounds is how often a batch is planned and sent while other writers, or lost answers, come in between.
const maxRounds = 3

// write makes the zones be as the jobs want them, and notes in each job what happened. All zones of the jobs are read and
// planned before the first one is written, so that what is refused in one leaves the others untouched.
func (b *Backend) write(ctx context.Context, zones *zoneSet, jobs []*job) {
	var held []*hostedZone
	defer func() {
		for _, zone := range held {
			zone.unlock()
		}
	}()
	for _, zone := range zones.all { // in one order for everybody, or two would wait for each other
		if !slices.ContainsFunc(jobs, func(j *job) bool { return b.concerns(zone, j) }) {
			continue
		}
		if err := zone.lock(ctx); err != nil {
			for _, j := range jobs {
				j.err = errors.Join(j.err, err)
			}
			return
		}
		held = append(held, zone)
	}
	for _, zone := range held {
		b.prepare(ctx, zone, jobs, snapshot{})
	}
	for _, j := range jobs {
		b.decide(ctx, j)
	}
	for _, zone := range held {
		b.writeZone(ctx, zone, jobs)
	}
}

// concerns reports whether a zone must be looked at for a job: it has records there, or may have.
func (b *Backend) concerns(zone *hostedZone, j *job) bool {
	names, known := b.ownedNames(zone, j.owner)
	return j.parts[zone] != nil || !known || len(names) > 0
}

// prepare reads what stands in a zone for the jobs and plans the changes of each.
func (b *Backend) prepare(ctx context.Context, zone *hostedZone, jobs []*job, in snapshot) {
	wanted := map[owner][]string{}
	for _, j := range jobs {
		if j.err != nil || !b.concerns(zone, j) {
			continue
		}
		wanted[j.owner] = nil
		if part := j.parts[zone]; part != nil {
			wanted[j.owner] = slices.Collect(maps.Keys(part.want))
		}
	}
	if len(wanted) == 0 {
		return
	}
	names, err := b.load(ctx, zone, in, wanted)
	if err != nil {
		b.unreadable(zone, jobs, err)
		return
	}
	var foreign []string
	for _, j := range jobs {
		if len(names[j.owner]) == 0 || j.err != nil {
			continue
		}
		part := j.part(zone)
		part.names = names[j.owner]
		for _, name := range part.names {
			if strangers(&part.part, name, in) {
				foreign = append(foreign, b.external.txtNames(zone, name)...)
			}
		}
	}
	if err := b.read(ctx, zone, in, foreign, nil); err != nil {
		b.unreadable(zone, jobs, err)
		return
	}
	for _, j := range jobs {
		part := j.parts[zone]
		if part == nil || j.err != nil {
			continue
		}
		changes, err := plan(&part.part, part.names, in, b.external)
		if part.changes, j.err = changes, dns.Refuse(err); j.err != nil {
			continue
		}
		b.reportZero(zone, &part.part, in)
	}
}

// unreadable notes that a zone could not be read in all jobs that depend on it.
func (b *Backend) unreadable(zone *hostedZone, jobs []*job, err error) {
	if zoneGone(err) {
		b.zonesStale.Store(true)
	}
	for _, j := range jobs {
		switch {
		case j.err != nil:
		case j.parts[zone] != nil:
			j.err = err
		case denied(err):
			// What the credentials may not read, the cluster cannot have written: it is not asked for again for a while.
			b.keepOwned(zone, j.owner.cluster, nil)
			b.log.Infow("hosted zone left out, it cannot be read", "hosted_zone", zone.id, "name", zone.name, "error", err)
		case len(j.pub.Records) == 0:
			j.err = fmt.Errorf("look for records of %s: %w", j.owner, err)
		default:
			b.log.Warnw("hosted zone not searched for former records, tried again on the next call", "hosted_zone", zone.id, "name", zone.name, "error", err)
		}
	}
}

// load reads the names that owners want in a zone, those that they own there, and the ownership records of both. It returns
// all those names by owner.
func (b *Backend) load(ctx context.Context, zone *hostedZone, in snapshot, wanted map[owner][]string) (map[owner][]string, error) {
	names := map[owner][]string{}
	var read, roots []string
	add := func(o owner, more []string) {
		for _, name := range more {
			if slices.Contains(names[o], name) {
				continue
			}
			names[o] = append(names[o], name)
			read = append(read, name)
			if at, err := ownershipName(zone, o.cluster, name); err == nil { // plan says what is wrong with it
				read = append(read, at)
			}
		}
	}
	for o, more := range wanted {
		add(o, more)
		owned, known := b.ownedNames(zone, o)
		add(o, owned)
		if root := ownershipRoot(zone, o.cluster); !known && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	if err := b.read(ctx, zone, in, read, roots); err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		return names, nil
	}
	for o := range wanted {
		if _, known := b.ownedNames(zone, o); !known {
			b.keepOwned(zone, o.cluster, in)
		}
	}
	read = nil
	for o := range wanted {
		owned, _ := b.ownedNames(zone, o)
		add(o, owned)
	}
	return names, b.read(ctx, zone, in, read, nil)
}

// ownedNames returns the names that an owner has in a zone; not known if its cluster's were not listed for ZoneCacheTTL.
func (b *Backend) ownedNames(zone *hostedZone, o owner) (names []string, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	owned := zone.owned[o.cluster]
	if owned == nil || b.opts.Clock.Since(owned.at) >= b.opts.ZoneCacheTTL {
		return nil, false
	}
	return slices.Sorted(maps.Keys(owned.byOwner[o.ingress])), true
}

// keepOwned remembers the names that a cluster owns in a zone, from a snapshot that has all its ownership records.
func (b *Backend) keepOwned(zone *hostedZone, cluster string, in snapshot) {
	owned := &ownedNames{at: b.opts.Clock.Now(), byOwner: map[ktypes.NamespacedName]map[string]bool{}}
	root := ownershipRoot(zone, cluster)
	for at, sets := range in {
		if !within(at, root) {
			continue
		}
		held, _, err := readClaim(sets, b.origins())
		switch {
		case err != nil:
			b.log.Warnw("ownership record left out, it cannot be read", "hosted_zone", zone.id, "record", at, "error", err)
		case held != nil && held.cluster == cluster && held.origin == b.opts.Origin:
			owned.set(held.ingress, ownedName(zone, cluster, at), true)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	zone.owned[cluster] = owned
}

// decide refuses jobs that fail in one of their zones, and submits again what must be proved to be in sync.
func (b *Backend) decide(ctx context.Context, j *job) {
	if j.err != nil {
		return
	}
	for at, id := range j.awaited {
		if part := j.partIn(at); id == unknown && (part == nil || len(part.want)+len(part.changes) == 0) { // nothing is wanted or found there, and since when nobody knows
			delete(j.awaited, at)
			j.assumed = true
		}
	}
	differs, wants := false, false
	for _, part := range j.parts {
		differs, wants = differs || len(part.changes) > 0, wants || len(part.want) > 0
		if s := sizeOf(part.changes); !s.fits() {
			j.err = dns.Refuse(fmt.Errorf("the records of %s in hosted zone %s do not fit into one change batch: %d elements of at most %d, %d characters of at most %d (UPSERT counts twice): use fewer hosts in one Ingress",
				j.owner, part.zone, s.elements, maxElements, s.characters, maxCharacters))
			return
		}
	}
	if differs {
		return
	}
	if j.ofOthers { // somebody else has made these
		j.asked, j.awaited = false, awaited{}
	}
	if !j.asked {
		b.ask(ctx, j)
	}
	unproved := j.pub.Prove && len(j.awaited) == 0 && !isProved(j.pub.Prior) && (wants || !j.pub.Prior.InSync)
	if !unproved && j.told.state != forgotten {
		return
	}
	if !wants {
		// There is nothing that could be submitted again.
		j.assumed, j.awaited, j.told = true, awaited{}, progress{state: inSync}
		return
	}
	for at, id := range j.awaited {
		part := j.partIn(at)
		if one, err := b.progress(ctx, awaited{at: id}); part != nil && len(part.want) > 0 || err == nil && one.state == forgotten {
			delete(j.awaited, at) // it is submitted again, or nothing is left of it that could be
		}
	}
	for _, part := range j.parts {
		part.changes = resubmission(&part.part)
	}
}

// partIn returns what a job has to do in a zone, nil if that is nothing.
func (j *job) partIn(zoneID string) *zonePart {
	for zone, part := range j.parts {
		if zone.id == zoneID {
			return part
		}
	}
	return nil
}

// writeZone submits the changes of all jobs in one zone, in as few batches as they fit in.
func (b *Backend) writeZone(ctx context.Context, zone *hostedZone, jobs []*job) {
	var writing []*job
	var sizes []size
	for _, j := range jobs {
		part := j.parts[zone]
		if j.err != nil || part == nil || len(part.changes) == 0 {
			continue
		}
		writing = append(writing, j)
		sizes = append(sizes, sizeOf(part.changes))
		j.awaits(zone, unknown) // until it is submitted
	}
	var stop error
	for _, batch := range pack(sizes) {
		together := make([]*job, len(batch))
		for i, at := range batch {
			together[i] = writing[at]
		}
		if stop != nil { // what is throttled or refused to these credentials will be so for the next batch too
			fail(together, stop)
			continue
		}
		stop = b.submit(ctx, zone, together, 1)
	}
}

func fail(jobs []*job, err error) {
	for _, j := range jobs {
		j.err = err
	}
}

// submit sends the changes of jobs as one batch. A batch that is refused for what is in it is halved until the bad job stands
// alone. It returns an error that every other batch of the zone would meet too.
func (b *Backend) submit(ctx context.Context, zone *hostedZone, jobs []*job, round int) error {
	if len(jobs) == 0 {
		return nil
	}
	var batch []types.Change
	for _, j := range jobs {
		batch = append(batch, j.parts[zone].changes...)
	}
	zone.extents = nil // what was read stands no longer
	out, err := call(ctx, b, opChangeResourceRecordSets, zone, func(ctx context.Context) (*sdk.ChangeResourceRecordSetsOutput, error) {
		return b.api.ChangeResourceRecordSets(ctx, &sdk.ChangeResourceRecordSetsInput{
			HostedZoneId: aws.String(zone.id),
			ChangeBatch:  &types.ChangeBatch{Changes: batch, Comment: aws.String("penstock")},
		}, noRetries)
	})
	if err != nil && !answered(err) {
		b.mayOwn(zone, jobs)
	}
	switch {
	case err == nil:
		id := b.submitted(out.ChangeInfo)
		for _, j := range jobs {
			b.applied(zone, j, id)
		}
		return nil
	case refused(err) && len(jobs) > 1:
		half := len(jobs) / 2
		if err := b.submit(ctx, zone, jobs[:half], round); err != nil {
			fail(jobs[half:], err)
			return err
		}
		return b.submit(ctx, zone, jobs[half:], round)
	case refused(err):
		return b.again(ctx, zone, jobs, round, err)
	case !answered(err) && ctx.Err() == nil:
		return b.again(ctx, zone, jobs, round, err)
	}
	fail(jobs, err)
	if zoneGone(err) {
		b.zonesStale.Store(true)
	}
	return err
}

// again reads what stands now for jobs whose batch was refused, or whose answer was lost, and submits what is still to be
// changed. A batch that would be the same was refused for good. One that was applied after all has an id that nobody
// knows: the records are submitted once more to get another.
func (b *Backend) again(ctx context.Context, zone *hostedZone, jobs []*job, round int, cause error) error {
	lost := !refused(cause)
	if round == maxRounds {
		fail(jobs, cause)
		if lost {
			return cause
		}
		return nil
	}
	if lost {
		if delay, err := b.retryer.RetryDelay(round-1, cause); err != nil || b.wait(ctx, delay) != nil {
			fail(jobs, cause)
			return cause
		}
	}
	before := make(map[*job]string, len(jobs))
	for _, j := range jobs {
		before[j] = fingerprint(j.parts[zone].changes)
	}
	b.prepare(ctx, zone, jobs, snapshot{})
	var rest []*job
	for _, j := range jobs {
		part := j.parts[zone]
		switch {
		case j.err != nil:
			continue
		case len(part.changes) == 0 && len(part.want) == 0:
			// It is gone, and by which change nobody knows.
			delete(j.awaited, zone.id)
			j.assumed, j.asked, j.told, j.toldErr = true, true, progress{state: inSync}, nil
			continue
		case len(part.changes) == 0:
			part.changes = resubmission(&part.part)
		case !lost && fingerprint(part.changes) == before[j]:
			j.err = dns.Refuse(fmt.Errorf("records of %s: %w", j.owner, cause))
			continue
		}
		rest = append(rest, j)
	}
	return b.submit(ctx, zone, rest, round+1)
}

// awaits notes which change of a zone is to be waited for.
func (j *job) awaits(zone *hostedZone, id string) {
	if len(j.parts) == 1 {
		j.awaited = awaited{}
	}
	j.awaited[zone.id] = id
}

// mayOwn notes names that jobs have if a change was made whose answer is lost, so that what it left is found.
func (b *Backend) mayOwn(zone *hostedZone, jobs []*job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range jobs {
		if owned := zone.owned[j.owner.cluster]; owned != nil {
			for name := range j.parts[zone].want {
				owned.set(j.owner.ingress, name, true)
			}
		}
	}
}

// applied notes that the changes of a job were accepted.
func (b *Backend) applied(zone *hostedZone, j *job, id string) {
	part := j.parts[zone]
	b.log.Infow("records submitted", "ingress", j.owner.ingress.String(), "cluster", j.owner.cluster, "hosted_zone", zone.id,
		"name", zone.name, "changes", len(part.changes), "change", id)
	j.awaits(zone, id)
	j.written = true
	b.mu.Lock()
	defer b.mu.Unlock()
	if owned := zone.owned[j.owner.cluster]; owned != nil {
		for _, name := range part.names {
			owned.set(j.owner.ingress, name, len(part.want[name]) > 0)
		}
	}
}

// zeroWarning names the weighted sets of a job whose weights are all zero, as they were last read; b.mu is held.
func (b *Backend) zeroWarning(j *job) string {
	var names []string
	for zone, part := range j.parts {
		for group := range part.weightedSets() {
			if b.zero[zeroSet{zone.id, group}] {
				names = append(names, fmt.Sprintf("%s %s", group.name, group.kind))
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return fmt.Sprintf("all weights of %s are zero, so Route 53 serves all its records equally: give one of the clusters a weight", strings.Join(slices.Compact(names), ", "))
}

// reportZero logs, once, and counts weighted sets whose weights are all zero: Route 53 serves their records equally.
// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html#Route53-Type-ResourceRecordSet-Weight
func (b *Backend) reportZero(zone *hostedZone, p *part, in snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for group, zero := range allZero(p, in) {
		at := zeroSet{zone.id, group}
		if b.zero[at] == zero {
			continue
		}
		gauge := []string{zone.id, group.name, string(group.kind)}
		if zero {
			b.zero[at] = true
			b.metrics.allZero.WithLabelValues(gauge...).Set(1)
			b.log.Warnw("all weights of a name are zero, so Route 53 serves its records equally", "hosted_zone", zone.id, "record", group.name, "type", string(group.kind))
			continue
		}
		delete(b.zero, at)
		b.metrics.allZero.DeleteLabelValues(gauge...)
	}
}
