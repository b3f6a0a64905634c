package route53emulator

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// healthCheck is a health check. It is never changed; a new one replaces it.
type healthCheck struct {
	id, callerReference string
	config              string // as XML
	unhealthy           bool
	// deleted health checks still steer the records that refer to them: Route 53 does not prevent their deletion, and what
	// becomes of their status is undefined; here it stays as it was.
	// https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/health-checks-updating-deleting-tasks.html
	deleted bool
}

// healthCheckTypes: https://docs.aws.amazon.com/Route53/latest/APIReference/API_HealthCheckConfig.html
var healthCheckTypes = []string{
	"HTTP", "HTTPS", "HTTP_STR_MATCH", "HTTPS_STR_MATCH", "TCP", "CALCULATED", "CLOUDWATCH_METRIC", "RECOVERY_CONTROL",
}

// SetHealthCheck sets the status of a health check. A new one is healthy until then.
func (s *Server) SetHealthCheck(id string, healthy bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.healthChecks[id]
	if old == nil {
		return fmt.Errorf("there is no health check %q", id)
	}
	check := *old
	check.unhealthy = !healthy
	s.healthChecks = with(s.healthChecks, id, &check)
	return nil
}

func noSuchHealthCheck(id string) *apiError {
	return &apiError{status: http.StatusNotFound, code: "NoSuchHealthCheck", message: fmt.Sprintf("there is no health check %q", id)}
}

func (h *healthCheck) xml() xmlHealthCheck {
	return xmlHealthCheck{ID: h.id, CallerReference: h.callerReference, HealthCheckConfig: xmlAny{h.config}, HealthCheckVersion: 1}
}

// createHealthCheck: https://docs.aws.amazon.com/Route53/latest/APIReference/API_CreateHealthCheck.html
func (s *Server) createHealthCheck(r *request) (any, *apiError) {
	var body createHealthCheckRequest
	if err := r.decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.CallerReference == "" || body.HealthCheckConfig == nil:
		return nil, invalidInput("a caller reference and a configuration are needed")
	case !slices.Contains(healthCheckTypes, body.HealthCheckConfig.Type):
		return nil, invalidInput(fmt.Sprintf("health check type %q is unknown", body.HealthCheckConfig.Type))
	}
	for _, old := range s.healthChecks {
		if old.callerReference != body.CallerReference {
			continue
		}
		if old.deleted || old.config != body.HealthCheckConfig.Inner {
			return nil, &apiError{status: http.StatusConflict, code: "HealthCheckAlreadyExists", message: "the caller reference was used for another health check"}
		}
		return s.healthCheckCreated(r, old), nil
	}
	check := &healthCheck{
		id: s.id("00000000-0000-4000-8000-%012d"), callerReference: body.CallerReference, config: body.HealthCheckConfig.Inner,
	}
	s.healthChecks = with(s.healthChecks, check.id, check)
	return s.healthCheckCreated(r, check), nil
}

func (s *Server) healthCheckCreated(r *request, check *healthCheck) healthCheckResponse {
	r.status = http.StatusCreated
	r.location = s.endpoint + "/2013-04-01/healthcheck/" + check.id
	return healthCheckResponse{XMLName: element("CreateHealthCheckResponse"), HealthCheck: check.xml()}
}

// healthCheck returns the health check that the request names.
func (s *Server) healthCheck(r *request) (*healthCheck, *apiError) {
	id := r.PathValue("id")
	if check := s.healthChecks[id]; check != nil && !check.deleted {
		return check, nil
	}
	return nil, noSuchHealthCheck(id)
}

func (s *Server) getHealthCheck(r *request) (any, *apiError) {
	check, err := s.healthCheck(r)
	if err != nil {
		return nil, err
	}
	return healthCheckResponse{XMLName: element("GetHealthCheckResponse"), HealthCheck: check.xml()}, nil
}

// deleteHealthCheck: https://docs.aws.amazon.com/Route53/latest/APIReference/API_DeleteHealthCheck.html
func (s *Server) deleteHealthCheck(r *request) (any, *apiError) {
	old, err := s.healthCheck(r)
	if err != nil {
		return nil, err
	}
	check := *old
	check.deleted = true
	s.healthChecks = with(s.healthChecks, check.id, &check)
	return emptyResponse{element("DeleteHealthCheckResponse")}, nil
}

// listHealthChecks: https://docs.aws.amazon.com/Route53/latest/APIReference/API_ListHealthChecks.html
func (s *Server) listHealthChecks(r *request) (any, *apiError) {
	maxItems, err := r.maxItems(100)
	if err != nil {
		return nil, err
	}
	marker := r.URL.Query().Get("marker")
	checks := slices.SortedFunc(maps.Values(s.healthChecks), func(a, b *healthCheck) int { return cmp.Compare(a.id, b.id) })
	checks = slices.DeleteFunc(checks, func(h *healthCheck) bool { return h.deleted || h.id < marker })
	response := listHealthChecksResponse{XMLName: element("ListHealthChecksResponse"), Marker: marker, MaxItems: maxItems}
	for i, check := range checks {
		if i == maxItems {
			response.IsTruncated, response.NextMarker = true, check.id
			break
		}
		response.HealthChecks.HealthCheck = append(response.HealthChecks.HealthCheck, check.xml())
	}
	return response, nil
}

// getHealthCheckStatus: https://docs.aws.amazon.com/Route53/latest/APIReference/API_GetHealthCheckStatus.html
func (s *Server) getHealthCheckStatus(r *request) (any, *apiError) {
	check, err := s.healthCheck(r)
	if err != nil {
		return nil, err
	}
	status := "Success: as set in the emulator"
	if check.unhealthy {
		status = "Failure: as set in the emulator"
	}
	response := healthStatusResponse{XMLName: element("GetHealthCheckStatusResponse")}
	for i, region := range strings.Fields("eu-west-1 us-east-1 us-west-2") {
		response.HealthCheckObservations = append(response.HealthCheckObservations, xmlObservation{
			Region: region, IPAddress: fmt.Sprintf("192.0.2.%d", i+1),
			StatusReport: xmlStatusReport{Status: status, CheckedTime: xmlTime(s.opts.Clock.Now())},
		})
	}
	return response, nil
}
