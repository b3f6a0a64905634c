package route53emulator

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// zone is a hosted zone with its history. The newest version is what the API shows; older ones are kept while a name
// server may still answer from them.
type zone struct {
	id, callerReference, comment string
	name                         name
	tags                         map[string]string
	versions                     []version // oldest first, never empty
	// busyUntil is when the last accepted change counts as processed.
	busyUntil time.Time
}

// version is the state of a zone as of one change.
type version struct {
	records *records // nil: the zone does not exist
	change  *change
}

// change is a submitted change on its way to the name servers.
type change struct {
	id, comment string
	submitted   time.Time
	// ready is when the first name server serves it; meaningless while held.
	ready time.Time
	held  bool
}

// latest returns the records as the API shows them, pending changes included.
func (z *zone) latest() *records { return z.versions[len(z.versions)-1].records }

// at returns the records that a name server with the given lag serves; nil if it does not know the zone.
func (z *zone) at(now time.Time, lag time.Duration) *records {
	for _, v := range slices.Backward(z.versions) {
		if !v.change.held && !now.Before(v.change.ready.Add(lag)) {
			return v.records
		}
	}
	return nil
}

// push adds a version and drops those that no name server can serve any more. A change is never ready before one that
// was submitted earlier, because its state contains that one.
func (z *zone) push(v version, now time.Time, maxLag time.Duration) {
	oldest := 0
	for i, old := range z.versions {
		if !old.change.held && !now.Before(old.change.ready.Add(maxLag)) {
			oldest = i
		}
		if old.change.ready.After(v.change.ready) {
			v.change.ready = old.change.ready
		}
	}
	z.versions = append(slices.Clone(z.versions[oldest:]), v)
}

// records are all record sets of a zone at one time. They are immutable: an editor makes the next.
type records struct {
	byName map[name][]*recordSet // in the order of compareKeys
	// sorted lists all record sets in the order of the API.
	sorted func() []*recordSet
	// exists has each name that has records or a name with records below it.
	exists func() map[name]bool
}

func newRecords(byName map[name][]*recordSet) *records {
	return &records{
		byName: byName,
		sorted: sync.OnceValue(func() []*recordSet {
			sortKeys := make(map[name]string, len(byName))
			for n := range byName {
				sortKeys[n] = n.sortKey()
			}
			names := slices.SortedFunc(maps.Keys(byName), func(a, b name) int { return cmp.Compare(sortKeys[a], sortKeys[b]) })
			var sets []*recordSet
			for _, n := range names {
				sets = append(sets, byName[n]...)
			}
			return sets
		}),
		exists: sync.OnceValue(func() map[name]bool {
			exists := make(map[name]bool, len(byName))
			for n := range byName {
				for ; n != "" && !exists[n]; n = n.parent() {
					exists[n] = true
				}
			}
			return exists
		}),
	}
}

// group returns the record sets of one name and type.
func (r *records) group(n name, recordType string) []*recordSet {
	return groupOf(r.byName, n, recordType)
}

func groupOf(byName map[name][]*recordSet, n name, recordType string) []*recordSet {
	var group []*recordSet
	for _, set := range byName[n] {
		if set.recordType == recordType {
			group = append(group, set)
		}
	}
	return group
}

// editor builds new records from old ones without changing these.
type editor struct {
	byName  map[name][]*recordSet
	touched map[name]bool
}

func (r *records) edit() *editor {
	return &editor{byName: maps.Clone(r.byName), touched: map[name]bool{}}
}

func (e *editor) get(k key) *recordSet {
	for _, set := range e.byName[k.name] {
		if set.key == k {
			return set
		}
	}
	return nil
}

func (e *editor) put(set *recordSet) {
	e.remove(set.key)
	sets := append(slices.Clone(e.byName[set.name]), set)
	slices.SortFunc(sets, compareKeys)
	e.byName[set.name] = sets
}

func (e *editor) remove(k key) {
	e.touched[k.name] = true
	sets := slices.DeleteFunc(slices.Clone(e.byName[k.name]), func(set *recordSet) bool { return set.key == k })
	if len(sets) == 0 {
		delete(e.byName, k.name)
		return
	}
	e.byName[k.name] = sets
}
