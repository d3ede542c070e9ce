package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Validate says whether a node can be started from c. The error joins all problems; each names the key, where its value
// came from, and what to do.
func (c Config) Validate() error {
	v := &validator{config: c}
	v.listen()
	v.pages()
	v.store()
	v.sessions()
	v.pools()
	v.atLeast("limits.request_bytes", c.Limits.RequestBytes, MiB)
	v.atLeast("limits.bytes_in_work", c.Limits.BytesInWork, 2*c.Limits.RequestBytes)
	v.positive("limits.body_timeout", c.Limits.BodyTimeout)
	if c.Limits.Connections < 0 {
		v.problem("limits.connections", "%d is not a number of connections; use 1 or more, or 0 for half of the files that may be open", c.Limits.Connections)
	}
	v.positive("shutdown.drain_timeout", c.Shutdown.DrainTimeout)
	v.choice("log.level", c.Log.Level)
	v.choice("log.format", c.Log.Format)
	return errors.Join(v.errs...)
}

type validator struct {
	config Config
	errs   []error
}

func (v *validator) problem(key, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s (%s): %s", key, v.config.Origin(key), fmt.Sprintf(format, args...)))
}

func (v *validator) listen() {
	c := v.config
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		v.problem("listen", "%q is not an address; write host:port, for instance 127.0.0.1:7460", c.Listen)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		v.problem("listen", "port %q is not a number from 0 to 65535 (0: any free one)", port)
	} else if !c.AllowRemote && !loopback(host) {
		v.problem("listen", "%s can be reached from other machines and there is no authentication; use 127.0.0.1:%d, or set allow_remote if the network is trusted", c.Listen, n)
	}
}

// pages checks the lists of names and origins for what would never match.
func (v *validator) pages() {
	for _, name := range v.config.AllowedHosts {
		if rest := strings.TrimPrefix(name, "*"); name == "" || strings.ContainsAny(rest, "*/: ") || rest != name && rest != "" && rest[0] != '.' {
			v.problem("allowed_hosts", "%q is not a name; write snakepit.example.com, without scheme and port, *.example.com for all below, or * for any", name)
		}
	}
	for _, origin := range v.config.CORSOrigins {
		u, err := url.Parse(origin)
		if origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || origin != u.Scheme+"://"+u.Host) {
			v.problem("cors_origins", "%q is not an origin; write https://app.example.com, with its port if it has one and without a path, or * for all", origin)
		}
	}
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (v *validator) store() {
	c := v.config
	v.choice("store.driver", c.Store.Driver)
	if c.Store.Driver == DriverDisk && c.Data == "" {
		v.problem("store.driver", "the disk driver needs a directory; set data")
	}
	if c.Store.Driver == DriverMemory && c.Data != "" {
		v.problem("store.driver", "the memory driver would not use the directory %s; remove store.driver or data", c.Data)
	}
	v.atLeast("store.disk.cache_bytes", c.Store.Disk.CacheBytes, MiB)
}

func (v *validator) sessions() {
	s := v.config.Sessions
	v.positive("sessions.default_ttl", s.DefaultTTL)
	if s.MaxSessions == 0 || s.MaxSessions < -1 {
		v.problem("sessions.max_sessions", "%d is not a limit; use 1 or more, or -1 for none", s.MaxSessions)
	}
	v.positive("sessions.sweep_interval", s.SweepInterval)
	if !(s.WarnThreshold > 0 && s.WarnThreshold <= 1) {
		v.problem("sessions.warn_threshold", "%s is not a share; use more than 0 and at most 1", format(s.WarnThreshold))
	}
	v.atLeast("sessions.max_vars_bytes", s.MaxVarsBytes, 1)
	if s.MaxPrograms < 1 {
		v.problem("sessions.max_programs", "%d is not a limit; use 1 or more", s.MaxPrograms)
	}
	v.atLeast("sessions.max_program_bytes", s.MaxProgramBytes, 1)
	v.atLeast("sessions.max_bytes", s.MaxBytes, 0)
	v.positive("sessions.call_retention", s.CallRetention)
	v.atLeast("sessions.max_call_bytes", s.MaxCallBytes, 4*KiB)
	v.positive("sessions.operation_timeout", s.OperationTimeout)
}

func (v *validator) pools() {
	if len(v.config.Pools) == 0 {
		v.problem("pools", "there is no pool; add one with its tools, or leave pools out and use --python")
	}
	first := map[string]int{}
	for i, p := range v.config.Pools {
		key := poolKey(i) + "."
		if p.Name == "" {
			v.problem(key+"name", "a pool needs a name; only the first is called default by itself")
		} else if j, dup := first[p.Name]; dup {
			v.problem(key+"name", "pool %s is already called %q; give each its own name", poolKey(j), p.Name)
		} else {
			first[p.Name] = i
		}
		if p.Python == "" {
			where := ""
			if i == 0 {
				where = " here or with --python"
			}
			v.problem(key+"python", "pool %q has no tools; name a Python file or module%s", p.Name, where)
		}
		if p.Workers < 0 {
			v.problem(key+"workers", "%d is not a number of workers; use 1 or more, or 0 for one for each CPU", p.Workers)
		}
		if p.QueueLimit < 1 {
			v.problem(key+"queue_limit", "%d is too small; use 1 or more", p.QueueLimit)
		}
		for name := range p.Env {
			if name == "" || strings.ContainsAny(name, "=\x00") {
				v.problem(key+"env", "%q cannot be the name of a variable", name)
			}
		}
		v.positive(key+"queue_timeout", p.QueueTimeout)
		v.positive(key+"call_timeout", p.CallTimeout)
		v.positive(key+"stream_timeout", p.StreamTimeout)
		if p.MaxTimeout < 0 {
			v.problem(key+"max_timeout", "%s is negative; use 0 for the default", p.MaxTimeout)
		} else if longest := max(p.CallTimeout, p.StreamTimeout); p.MaxTimeout > 0 && p.MaxTimeout < longest {
			v.problem(key+"max_timeout", "%s is shorter than the %s that calls have without asking", p.MaxTimeout, longest)
		}
		v.positive(key+"start_timeout", p.StartTimeout)
		if p.PingInterval < 0 {
			v.problem(key+"ping_interval", "%s is negative; use 0 for never", p.PingInterval)
		}
		v.positive(key+"cancel_grace", p.CancelGrace)
		v.positive(key+"stop_grace", p.StopGrace)
		if err := root.child("pools").child("affinity").allows(p.Affinity); err != nil {
			v.problem(key+"affinity", "%s", err)
		}
	}
}

func (v *validator) positive(key string, d time.Duration) {
	if d <= 0 {
		v.problem(key, "%s is too short; use more than 0s", format(d))
	}
}

func (v *validator) atLeast(key string, s, least Size) {
	if s < least {
		v.problem(key, "%s is too small; use %s or more", s, least)
	}
}

// choice repeats the check of Load for a Config that was built in code.
func (v *validator) choice(key, value string) {
	if err := flagSetting(key).allows(value); err != nil {
		v.problem(key, "%s", err)
	}
}
