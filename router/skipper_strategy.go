package router

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
)

// strategy is what spec.analysis asks of a router beyond weights.
type strategy struct {
	matches      [][]string // the predicates of each entry of match; entries are alternatives
	mirror       bool
	mirrorWeight int // per cent of the requests that are mirrored, 1 to 100
	affinity     *affinity
}

// newStrategy reads spec.analysis. It refuses what cannot be done, because a router that ignores a condition sends every user to
// the canary.
func newStrategy(canary *flaggerv1.Canary) (strategy, error) {
	analysis := canary.GetAnalysis()
	if analysis == nil {
		return strategy{}, nil
	}
	object := "canary " + canary.Namespace + "/" + canary.Name + ": spec.analysis"
	s := strategy{mirror: analysis.Mirror, mirrorWeight: analysis.MirrorWeight}
	for i, m := range analysis.Match {
		predicates, err := matchPredicates(fmt.Sprintf("%s.match[%d]", object, i), m)
		if err != nil {
			return strategy{}, err
		}
		s.matches = append(s.matches, predicates)
	}
	if s.mirrorWeight < 0 || s.mirrorWeight > 100 {
		return strategy{}, fmt.Errorf("%s.mirrorWeight is %d, it must be from 0 to 100", object, s.mirrorWeight)
	}
	if s.mirrorWeight == 0 {
		s.mirrorWeight = 100
	}
	if analysis.SessionAffinity != nil {
		a, err := newAffinity(canary, *analysis.SessionAffinity)
		if err != nil {
			return strategy{}, fmt.Errorf("%s.sessionAffinity.%w", object, err)
		}
		s.affinity = &a
	}
	if len(s.matches) > 0 && s.affinity != nil {
		return strategy{}, fmt.Errorf("%s has both match and sessionAffinity: users that match get the canary anyway; remove one", object)
	}
	if len(s.matches) > 0 && s.mirror {
		return strategy{}, fmt.Errorf("%s has both match and mirror: requests are mirrored whether they match or not; remove one", object)
	}
	return s, nil
}

// affinity makes a user who once got the canary get it again, by a cookie, and likewise the primary where that is asked for.
type affinity struct {
	spec          flaggerv1.SessionAffinity
	value         string // of both cookies
	primarySecond int    // Max-Age of the primary's cookie
}

// cookieName is a token of RFC 9110, section 5.6.2, as RFC 6265 asks for.
var cookieName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

var errCookie = errors.New("cannot be part of a Set-Cookie header")

// newAffinity checks the attributes and chooses the value of the cookies. It belongs to the revision under test, so a cookie
// of an earlier canary means nothing in this one, and it comes from what the API holds, so it survives the process.
func newAffinity(canary *flaggerv1.Canary, spec flaggerv1.SessionAffinity) (affinity, error) {
	if !cookieName.MatchString(spec.CookieName) {
		return affinity{}, fmt.Errorf("cookieName %q %w: name a cookie", spec.CookieName, errCookie)
	}
	if spec.PrimaryCookieName != "" && !cookieName.MatchString(spec.PrimaryCookieName) {
		return affinity{}, fmt.Errorf("primaryCookieName %q %w: name a cookie", spec.PrimaryCookieName, errCookie)
	}
	if spec.CookieName == spec.PrimaryCookieName {
		return affinity{}, fmt.Errorf("primaryCookieName is %q, as is cookieName: choose another", spec.PrimaryCookieName)
	}
	for field, value := range map[string]string{"domain": spec.Domain, "path": spec.Path, "sameSite": spec.SameSite} {
		// "${" begins a placeholder in the filter that sets the header.
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == ';' || r > '~' }) || strings.Contains(value, "${") {
			return affinity{}, fmt.Errorf("%s %q %w", field, value, errCookie)
		}
	}
	if spec.MaxAge < 0 {
		return affinity{}, fmt.Errorf("maxAge is %d, it must not be negative", spec.MaxAge)
	}
	if spec.Path == "" {
		spec.Path = "/" // or a browser would send the cookie only to where it got it
	}
	configs, err := json.Marshal(canary.Status.TrackedConfigs)
	if err != nil {
		return affinity{}, fmt.Errorf("encode status.trackedConfigs: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s/%s %s %s", canary.UID, canary.Namespace, canary.Name, canary.Status.LastAppliedSpec, configs))
	return affinity{
		spec:          spec,
		value:         hex.EncodeToString(sum[:8]),
		primarySecond: int(canary.GetAnalysisInterval().Seconds()),
	}, nil
}

func (a affinity) has(cookie string) string {
	return call("Cookie", cookie, "^"+regexp.QuoteMeta(a.value)+"$")
}

func (a affinity) set(cookie string, maxAge int) string {
	return call("appendResponseHeader", "Set-Cookie", a.spec.BuildCookie(cookie+"="+a.value, maxAge))
}

// forget is a browser's order to delete a cookie: same name, domain and path, and no time to live.
func (a affinity) forget(cookie string) string {
	return call("appendResponseHeader", "Set-Cookie", a.spec.BuildCookie(cookie+"=", 0))
}
