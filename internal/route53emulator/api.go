package route53emulator

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxBody bounds a request: more than the largest batch takes, whose values are limited.
const maxBody = 4 << 20

// request is a call that is being answered.
type request struct {
	*http.Request
	body      []byte
	operation Operation
	// What an operation may set for its reply.
	status   int
	location string
}

// handlerFunc answers a call with a document, or with an error. The server's lock is held.
type handlerFunc func(s *Server, r *request) (any, *apiError)

// handler routes the API as the SDK speaks it: https://docs.aws.amazon.com/Route53/latest/APIReference/API_Operations.html
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range []struct {
		pattern   string
		operation Operation
		run       handlerFunc
	}{
		{"POST /2013-04-01/hostedzone", CreateHostedZone, (*Server).createHostedZone},
		{"GET /2013-04-01/hostedzone", ListHostedZones, (*Server).listHostedZones},
		{"GET /2013-04-01/hostedzonesbyname", ListHostedZonesByName, (*Server).listHostedZonesByName},
		{"GET /2013-04-01/hostedzone/{zone}", GetHostedZone, (*Server).getHostedZone},
		{"DELETE /2013-04-01/hostedzone/{zone}", DeleteHostedZone, (*Server).deleteHostedZone},
		{"GET /2013-04-01/hostedzone/{zone}/rrset", ListResourceRecordSets, (*Server).listResourceRecordSets},
		{"POST /2013-04-01/hostedzone/{zone}/rrset", ChangeResourceRecordSets, (*Server).changeResourceRecordSets},
		{"GET /2013-04-01/change/{id}", GetChange, (*Server).getChange},
		{"GET /2013-04-01/tags/{type}/{id}", ListTagsForResource, (*Server).listTagsForResource},
		{"POST /2013-04-01/tags/{type}/{id}", ChangeTagsForResource, (*Server).changeTagsForResource},
		{"POST /2013-04-01/tags/{type}", ListTagsForResources, (*Server).listTagsForResources},
		{"POST /2013-04-01/healthcheck", CreateHealthCheck, (*Server).createHealthCheck},
		{"GET /2013-04-01/healthcheck", ListHealthChecks, (*Server).listHealthChecks},
		{"GET /2013-04-01/healthcheck/{id}", GetHealthCheck, (*Server).getHealthCheck},
		{"DELETE /2013-04-01/healthcheck/{id}", DeleteHealthCheck, (*Server).deleteHealthCheck},
		{"GET /2013-04-01/healthcheck/{id}/status", GetHealthCheckStatus, (*Server).getHealthCheckStatus},
	} {
		mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, &request{Request: r, operation: route.operation, status: http.StatusOK}, route.run)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.reply(w, http.StatusNotFound, (&apiError{
			status: http.StatusNotFound, code: "UnknownOperationException",
			message: fmt.Sprintf("%s %s is not emulated", r.Method, r.URL.Path),
		}).document(""))
	})
	return mux
}

// serve answers one call.
func (s *Server) serve(w http.ResponseWriter, r *request, run handlerFunc) {
	var tooLarge error
	r.body, tooLarge = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))

	s.mu.Lock()
	requestID := s.id("00000000-0000-4000-9000-%012d")
	document, refused, drop := s.answer(r, run, tooLarge)
	s.mu.Unlock()

	if drop {
		cut(w)
		return
	}
	w.Header().Set("X-Amzn-Requestid", requestID)
	if refused != nil {
		s.reply(w, refused.status, refused.document(requestID))
		return
	}
	if r.location != "" {
		w.Header().Set("Location", r.location)
	}
	s.reply(w, r.status, document)
}

// answer runs an operation unless something stands before it. drop says that the connection is to be cut instead.
func (s *Server) answer(r *request, run handlerFunc, tooLarge error) (document any, refused *apiError, drop bool) {
	s.faults.calls[r.operation]++
	accessKeyID, ok := accessKey(r.Header.Get("Authorization"))
	if !ok {
		return nil, &apiError{status: http.StatusForbidden, code: "MissingAuthenticationToken", message: "the request names no access key"}, false
	}
	if s.opts.Throttle && !s.faults.admit(r.operation, s.opts.Clock.Now()) {
		return nil, Throttled.apiError(), false
	}
	fault := s.faults.next(r.operation)
	if fault == DroppedBefore {
		return nil, nil, true
	}
	if fault != 0 && fault != DroppedAfter {
		return nil, fault.apiError(), false
	}
	if s.faults.denied[denial{accessKeyID, zoneOf(r)}] {
		return nil, Denied.apiError(), false
	}
	if tooLarge != nil {
		return nil, &apiError{status: http.StatusRequestEntityTooLarge, code: "RequestEntityTooLarge", message: tooLarge.Error()}, false
	}
	document, refused = run(s, r)
	return document, refused, fault == DroppedAfter
}

// accessKey finds the access key id in the header of a signed request.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-authentication-methods.html
func accessKey(authorization string) (id string, ok bool) {
	_, credential, ok := strings.Cut(authorization, "Credential=")
	id, _, slash := strings.Cut(credential, "/")
	return id, ok && slash && id != "" && strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 ")
}

// zoneOf returns the hosted zone that a request concerns; empty if none.
func zoneOf(r *request) string {
	if r.PathValue("type") == "hostedzone" {
		return r.PathValue("id")
	}
	return r.PathValue("zone")
}

// cut closes the connection of a request without an answer.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the documented way to abort, for connections that cannot be hijacked
	}
	_ = conn.Close() // the peer may have closed it first
}

func (s *Server) reply(w http.ResponseWriter, status int, document any) {
	body, err := xml.Marshal(document)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, xml.Header) // a client that has gone needs no answer
	_, _ = w.Write(body)
}

// decode reads the body of the request.
func (r *request) decode(into any) *apiError {
	if err := xml.Unmarshal(r.body, into); err != nil {
		return invalidInput("malformed document: " + err.Error())
	}
	return nil
}

// maxItems is the size of a page: most, unless fewer are asked for.
func (r *request) maxItems(most int) (int, *apiError) {
	text := r.URL.Query().Get("maxitems")
	if text == "" {
		return most, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, invalidInput(fmt.Sprintf("maxitems %q is no positive integer", text))
	}
	return min(n, most), nil
}
