package route53

import "fmt"

// origins are those of several Kubernetes clusters with one name whose records a Backend takes for its own.
type origins struct {
	own     string // empty takes those of all
	adopted string // of a cluster that is gone; empty is none
}

// accept tells whether records are the Backend's whose ownership record names an origin; empty is one that names none.
func (o origins) accept(origin string) bool {
	return o.own == "" || origin == "" || origin == o.own || origin == o.adopted
}

// namesake says that another cluster has this one's name, and what to do.
func namesake(p *part, name, at string, held *claim) error {
	return fmt.Errorf("name %s in hosted zone %s belongs to another cluster that is called %q too, the one with the origin %s, as record %s TXT says: "+
		"give each cluster a name of its own; if that one is gone, set AdoptOrigin to its origin to take its records over", name, p.zone, held.cluster, held.origin, at)
}

func (b *Backend) origins() origins { return origins{b.opts.Origin, b.opts.AdoptOrigin} }
