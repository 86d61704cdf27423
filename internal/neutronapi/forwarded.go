package neutronapi

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A proxy in front of the API says by headers how the client reached it, and who that
// client is: X-Forwarded-For, -Proto, -Host and -Prefix, as oslo.middleware's
// http_proxy_to_wsgi reads them, or Forwarded (RFC 7239). They count from trusted proxies
// alone: anybody can write them.

// origin is how the client reached the API, where a proxy says it.
type origin struct{ scheme, host, prefix string }

type originKey struct{}

// forwarded gives the request as the client sent it to the trusted proxy that it comes
// from; any other request as it is.
func forwarded(r *http.Request, trusted []netip.Prefix) *http.Request {
	if len(trusted) == 0 {
		return r
	}
	is := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !is(from.Addr()) {
		return r
	}
	o, path := headerOrigin(r.Header)
	r = r.WithContext(context.WithValue(r.Context(), originKey{}, o))
	// The nearest proxy writes last; what stands before the first that is not trusted
	// can be anybody's invention.
	for _, s := range slices.Backward(path) {
		a, err := node(s)
		if err != nil {
			break
		}
		r.RemoteAddr = netip.AddrPortFrom(a, 0).String()
		if !is(a) {
			break
		}
	}
	return r
}

// headerOrigin reads the headers; path are the clients and proxies that the request came
// through, the nearest last.
func headerOrigin(h http.Header) (o origin, path []string) {
	if f := h.Values("Forwarded"); len(f) > 0 {
		elements := strings.Split(strings.Join(f, ","), ",")
		for i, e := range elements {
			for pair := range strings.SplitSeq(e, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
				value = strings.Trim(value, `"`)
				switch strings.ToLower(name) {
				case "for":
					path = append(path, value)
				case "proto":
					if i == 0 || o.scheme == "" {
						o.scheme = value
					}
				case "host":
					if i == 0 || o.host == "" {
						o.host = value
					}
				}
			}
		}
	} else {
		first := func(name string) string {
			s, _, _ := strings.Cut(h.Get(name), ",")
			return strings.TrimSpace(s)
		}
		o.scheme, o.host = first("X-Forwarded-Proto"), first("X-Forwarded-Host")
		for _, v := range h.Values("X-Forwarded-For") {
			for s := range strings.SplitSeq(v, ",") {
				path = append(path, strings.TrimSpace(s))
			}
		}
	}
	o.prefix = strings.TrimRight(h.Get("X-Forwarded-Prefix"), "/")
	if o.scheme = strings.ToLower(o.scheme); o.scheme != "http" && o.scheme != "https" {
		o.scheme = ""
	}
	if strings.ContainsAny(o.host, "/\\?#@ \"<>") {
		o.host = ""
	}
	if !strings.HasPrefix(o.prefix, "/") || strings.HasPrefix(o.prefix, "//") || strings.ContainsAny(o.prefix, "\\?# \"<>") {
		o.prefix = ""
	}
	return o, path
}

// node reads a client or proxy of the headers: an address, with brackets and a port or
// without (RFC 7239 §6).
func node(s string) (netip.Addr, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), nil
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap(), err
}

// baseURL is the root under which the client reached this server.
func baseURL(r *http.Request) string {
	o, _ := r.Context().Value(originKey{}).(origin)
	if o.scheme == "" {
		o.scheme = "http"
		if r.TLS != nil {
			o.scheme = "https"
		}
	}
	if o.host == "" {
		o.host = r.Host
	}
	return o.scheme + "://" + o.host + o.prefix
}
