package route53

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
)

// part is what an owner wants in one zone.
type part struct {
	zone  *hostedZone
	owner owner
	takes []owner // whose names are this one's when it wants them
	from  origins
	want  map[string][]wanted // by name
}

// inherits tells whether a claim is of one whose names become the owner's.
func (p *part) inherits(held *claim) bool { return held != nil && slices.Contains(p.takes, held.owner) }

// owns reports whether a claim names a record set, and is the owner's or becomes so.
func (p *part) owns(held *claim, k key) bool {
	return held.owns(p.owner, k) || p.inherits(held) && held.owns(held.owner, k)
}

// step is a change and its place in a batch.
type step struct {
	phase, rank int
	key         key
	change      types.Change
}

// The phases of a batch: an alias may only point at what exists, so what others point at is written first and deleted last.
const (
	writeTargets = iota
	writeAliases
	deleteAliases
	deleteTargets
	writeOwnership
)

// plan returns the changes that make what a part wants the only record sets of its owner at names, in the order in which they
// have to stand in a batch; nothing if nothing differs. It refuses to touch, or to collide with, what is not the owner's.
func plan(p *part, names []string, in snapshot, external externalDNS) ([]types.Change, error) {
	var steps []step
	for _, name := range slices.Sorted(slices.Values(names)) {
		more, err := planName(p, name, in, external)
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	slices.SortStableFunc(steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.phase, b.phase), cmp.Compare(a.key.name, b.key.name), cmp.Compare(a.rank, b.rank), compareKeys(a.key, b.key))
	})
	changes := make([]types.Change, len(steps))
	for i, s := range steps {
		changes[i] = s.change
	}
	return changes, nil
}

func planName(p *part, name string, in snapshot, external externalDNS) ([]step, error) {
	want := p.want[name]
	at, err := ownershipName(p.zone, p.owner.cluster, name)
	if err != nil {
		return nil, err
	}
	held, heldSet, err := readClaim(in[at], p.from)
	if len(want) == 0 && (held == nil || held.owner != p.owner) {
		return nil, nil // it is not, or no longer, the owner's, and so of no concern
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("name %s in hosted zone %s: its ownership record %s TXT cannot be read (%w): correct or delete it", name, p.zone, at, err)
	case held != nil && held.cluster == p.owner.cluster && held.origin != p.owner.origin:
		return nil, namesake(p, name, at, held)
	case held != nil && held.owner != p.owner && !p.inherits(held):
		return nil, fmt.Errorf("name %s in hosted zone %s belongs to %s, as record %s TXT says, and not to %s: remove the host from one of them",
			name, p.zone, held.owner, at, p.owner)
	}
	ours, adopted, txts, err := claimable(p, name, held, in, external)
	if err != nil {
		return nil, err
	}
	steps := replace(p.zone, want, append(ours, adopted...))
	for _, txt := range txts {
		steps = append(steps, step{deleteTargets, 0, keyOf(txt), deletion(txt)})
	}
	return append(steps, planOwnership(p.owner, at, want, held, heldSet)...), nil
}

// replace turns the record sets that may be changed into those that are wanted, at one name.
func replace(zone *hostedZone, want []wanted, current []*types.ResourceRecordSet) []step {
	var steps []step
	phase := writeTargets
	if slices.ContainsFunc(want, func(w wanted) bool { return aliasWithin(zone, w.set) }) {
		phase = writeAliases
	}
	for _, w := range want {
		i := slices.IndexFunc(current, func(set *types.ResourceRecordSet) bool { return keyOf(set) == w.key })
		switch {
		case i < 0:
			steps = append(steps, step{phase, 1, w.key, change(types.ChangeActionCreate, w.set)})
		case same(current[i], w.set):
		case !plainPolicy(current[i]):
			// A routing policy cannot be changed in place:
			// https://docs.aws.amazon.com/Route53/latest/APIReference/API_ResourceRecordSet.html#Route53-Type-ResourceRecordSet-SetIdentifier
			steps = append(steps, step{phase, 0, w.key, deletion(current[i])}, step{phase, 1, w.key, change(types.ChangeActionCreate, w.set)})
		default:
			steps = append(steps, step{phase, 1, w.key, change(types.ChangeActionUpsert, w.set)})
		}
	}
	for _, set := range current {
		k := keyOf(set)
		if slices.ContainsFunc(want, func(w wanted) bool { return w.key == k }) {
			continue
		}
		switch {
		case len(want) > 0: // before what takes its place
			steps = append(steps, step{phase, 0, k, deletion(set)})
		case aliasWithin(zone, set):
			steps = append(steps, step{deleteAliases, 0, k, deletion(set)})
		default:
			steps = append(steps, step{deleteTargets, 0, k, deletion(set)})
		}
	}
	return steps
}

// planOwnership writes down what is owned at a name after the batch.
func planOwnership(o owner, at string, want []wanted, held *claim, heldSet *types.ResourceRecordSet) []step {
	k := key{name: at, kind: types.RRTypeTxt}
	if len(want) == 0 {
		return []step{{writeOwnership, 0, k, deletion(heldSet)}}
	}
	next := newClaim(o, want)
	if held != nil && next.written == "" {
		next.written = held.written
	}
	switch {
	case held == nil:
		return []step{{writeOwnership, 0, k, change(types.ChangeActionCreate, ownershipSet(at, next))}}
	case held.text() != next.text():
		return []step{{writeOwnership, 0, k, change(types.ChangeActionUpsert, ownershipSet(at, next))}}
	}
	return nil
}

// claimable returns the record sets at a name that the owner has, and those of external-dns, with their TXT records, that
// it may take over because they are in the way. Anything else in the way is an error.
func claimable(p *part, name string, held *claim, in snapshot, external externalDNS) (ours, adopted, txts []*types.ResourceRecordSet, err error) {
	for _, set := range in[name] {
		if p.owns(held, keyOf(set)) {
			ours = append(ours, set)
			continue
		}
		blocked, blocks := blockedBy(p.want[name], set)
		if !blocks {
			continue
		}
		id, said := external.ownerOf(set, in)
		if id == "" || id != external.adopt {
			return nil, nil, nil, conflict(p, blocked, set, id)
		}
		adopted = append(adopted, set)
		for _, txt := range said {
			if !slices.Contains(txts, txt) {
				txts = append(txts, txt)
			}
		}
	}
	return ours, adopted, txts, nil
}

// blockedBy returns the first wanted record set of a name that cannot stand beside one that is not the owner's.
func blockedBy(want []wanted, set *types.ResourceRecordSet) (wanted, bool) {
	k := keyOf(set)
	for _, w := range want {
		switch {
		case k == w.key,
			// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/ResourceRecordTypes.html#CNAMEFormat
			(k.kind == types.RRTypeCname) != (w.kind == types.RRTypeCname),
			// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-values-weighted-alias.html
			k.kind == w.kind && ((k.id == "") != (w.id == "") || !plainPolicy(set)):
			return w, true
		}
	}
	return wanted{}, false
}

// strangers reports whether a name has record sets in the way that are not the owner's.
func strangers(p *part, name string, in snapshot) bool {
	at, err := ownershipName(p.zone, p.owner.cluster, name)
	if err != nil {
		return false
	}
	held, _, err := readClaim(in[at], p.from)
	return err == nil && slices.ContainsFunc(in[name], func(set *types.ResourceRecordSet) bool {
		_, blocks := blockedBy(p.want[name], set)
		return blocks && !p.owns(held, keyOf(set))
	})
}

// conflict says what is in the way of a record set, whose it is, and what to do.
func conflict(p *part, w wanted, set *types.ResourceRecordSet, externalOwner string) error {
	k := keyOf(set)
	what := fmt.Sprintf("%s in hosted zone %s is not Penstock's", k, p.zone)
	switch {
	case k != w.key && k.kind != w.kind:
		what = fmt.Sprintf("%s in hosted zone %s, of another type, is in the way of %s", k, p.zone, w.key)
	case k != w.key && k.id == "":
		what = fmt.Sprintf("%s in hosted zone %s, a simple record, is in the way of %s", k, p.zone, w.key)
	case k != w.key:
		what = fmt.Sprintf("%s in hosted zone %s, with another routing policy, is in the way of %s", k, p.zone, w.key)
	}
	if externalOwner != "" {
		return fmt.Errorf("%s: it belongs to external-dns with the owner id %q: let external-dns delete it, or set AdoptExternalDNS to that owner id to take it over", what, externalOwner)
	}
	return fmt.Errorf("%s, and no record says whose it is: delete it, or give the cluster another name", what)
}

// resubmission returns the changes that write what a part wants once more, as it is.
func resubmission(p *part) []types.Change {
	var changes []types.Change
	for _, aliases := range []bool{false, true} {
		for _, name := range slices.Sorted(maps.Keys(p.want)) {
			for _, w := range p.want[name] {
				if aliasWithin(p.zone, w.set) == aliases {
					changes = append(changes, change(types.ChangeActionUpsert, w.set))
				}
			}
		}
	}
	return changes
}

// weightedSets returns the names and types of the weighted sets that the part has a member in.
func (p *part) weightedSets() map[key]bool {
	sets := map[key]bool{}
	for name, want := range p.want {
		for _, w := range want {
			if w.id != "" {
				sets[key{name: name, kind: w.kind}] = true
			}
		}
	}
	return sets
}

// allZero returns the weighted sets, by name and type, of which the part has a member and whose weights are all zero once
// the part stands.
func allZero(p *part, in snapshot) map[key]bool {
	zero := map[key]bool{}
	for name, want := range p.want {
		mine := map[key]bool{}
		for _, w := range want {
			mine[w.key] = true
			if group := (key{name: name, kind: w.kind}); w.id != "" {
				before, seen := zero[group]
				zero[group] = (before || !seen) && aws.ToInt64(w.set.Weight) == 0
			}
		}
		var held *claim
		if at, err := ownershipName(p.zone, p.owner.cluster, name); err == nil {
			held, _, _ = readClaim(in[at], p.from) // what cannot be read was refused before
		}
		for _, set := range in[name] {
			if _, ok := zero[key{name: name, kind: set.Type}]; ok && !p.owns(held, keyOf(set)) && !mine[keyOf(set)] && aws.ToInt64(set.Weight) != 0 {
				zero[key{name: name, kind: set.Type}] = false
			}
		}
	}
	return zero
}

func aliasWithin(zone *hostedZone, set *types.ResourceRecordSet) bool {
	return set.AliasTarget != nil && aws.ToString(set.AliasTarget.HostedZoneId) == zone.id
}

func change(action types.ChangeAction, set *types.ResourceRecordSet) types.Change {
	return types.Change{Action: action, ResourceRecordSet: set}
}

// deletion repeats a record set exactly as it was read.
func deletion(set *types.ResourceRecordSet) types.Change {
	return change(types.ChangeActionDelete, set)
}
