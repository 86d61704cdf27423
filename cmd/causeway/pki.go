package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-net/causeway/internal/cli"
	"github.com/causeway-net/causeway/internal/pki"
)

const defaultPKI = "/etc/causeway/pki"

func newPKICommand() *cobra.Command {
	return needSubcommand("pki", "Keep a small certificate authority for a site", `Keep a small certificate authority for a lab or a small site: it signs the certificates of
controllers, hosts, operators and etcd members, and says which were revoked.

It is a directory of files. No server is asked and none is told: the files go to where they
are used by other means. Keep the directory off the site's machines where you can: whoever
has ca.key is every host and every operator. Any other authority does as well; see "Roles of
certificates" in docs/configuration.md.`,
		newPKIInit(), newPKIIssue(), newPKIRenew(), newPKIRevoke(), newPKIList())
}

func pkiError(what string, err error) error {
	if err == nil {
		return nil
	}
	e := &cli.Error{What: "pki " + what, Err: err}
	if errors.Is(err, pki.ErrExists) {
		e.Hint = "It is used as it is by \"causeway pki issue\"; for another, give another --dir."
	}
	return e
}

// pkiDir adds --dir.
func pkiDir(cmd *cobra.Command) *string {
	return cmd.Flags().String("dir", defaultPKI, "`DIRECTORY` of the authority")
}

func newPKIInit() *cobra.Command {
	var name string
	var days int
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make an authority",
		Long: `Make an authority: its key and certificate, and an empty revocation list. One that is there
already is left alone, and the command fails.`,
		Example: `  causeway pki init --name "Site A"`,
		Args:    cobra.NoArgs,
	}
	dir := pkiDir(cmd)
	cmd.Flags().StringVar(&name, "name", "Causeway", "`NAME` of the authority")
	cmd.Flags().IntVar(&days, "days", 3650, "`DAYS` until its certificate expires")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := pki.Create(*dir, name, days)
		if err != nil {
			return pkiError("init", err)
		}
		defer a.Close()
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: the authority %s, until %s\n%s: its revocation list, empty\n",
			a.Path(pki.CAFile), name, a.Cert().NotAfter.Format(time.DateOnly), a.Path(pki.CRLFile))
		return err
	}
	return cmd
}

// holderArgs are KIND and NAME.
func holderArgs(args []string) (pki.Kind, string, error) {
	kind := pki.Kind(args[0])
	if !slices.Contains(pki.Kinds(), kind) {
		return "", "", cli.Usagef("%q is no kind of certificate; there are %s", args[0], kindNames())
	}
	return kind, args[1], nil
}

func kindNames() string {
	var names []string
	for _, k := range pki.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func completeKinds(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return strings.Split(kindNames(), ", "), cobra.ShellCompDirectiveNoFileComp
}

// signFlags are those of commands that sign.
type signFlags struct {
	dir       *string
	out       string
	days      int
	addresses []string
}

func (f *signFlags) register(cmd *cobra.Command) {
	f.dir = pkiDir(cmd)
	cmd.Flags().StringVar(&f.out, "out", "", "`DIRECTORY` that gets the files (default: issued in --dir; of a renewed certificate, where the last one is)")
	cmd.Flags().IntVar(&f.days, "days", 365, "`DAYS` until the certificate expires; never later than the authority's own")
	cmd.Flags().StringSliceVar(&f.addresses, "address", nil, "DNS name or IP `ADDRESS` by which others come to a controller or etcd member; repeatable")
}

func (f *signFlags) request(kind pki.Kind, name string) pki.Request {
	return pki.Request{Kind: kind, Name: name, Addresses: f.addresses, Days: f.days, Dir: f.out}
}

func (f *signFlags) tell(w io.Writer, c pki.Certificate) error {
	cert, key := c.Files()
	_, err := fmt.Fprintf(w, "%s, %s: %s %s, number %s, until %s\n", cert, key, c.Kind, c.Name, c.Serial, c.Expires.Format(time.DateOnly))
	return err
}

func newPKIIssue() *cobra.Command {
	var f signFlags
	cmd := &cobra.Command{
		Use:   "issue KIND NAME",
		Short: "Sign a certificate with a new key",
		Long: `Sign a certificate with a new key. KIND is one of

  controller  a controller's, for --api-tls-cert, --agent-tls-cert and --etcd-tls-cert
  host        the agent's of the host NAME, for --tls-cert
  operator    a client's of the API, for OS_CERT
  etcd        a member's of an etcd cluster, towards its clients and the other members

Controllers and etcd members need each --address that others come to them by. Who has a valid
certificate gets no second one: renew it, or revoke it first.`,
		Example: `  causeway pki issue controller c1 --address c1.site-a.example --address 192.0.2.11
  causeway pki issue host a1 --out /tmp/a1`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeKinds,
	}
	f.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind, name, err := holderArgs(args)
		if err != nil {
			return err
		}
		a, err := pki.Open(*f.dir)
		if err != nil {
			return pkiError("issue", err)
		}
		defer a.Close()
		r := f.request(kind, name)
		if r.Dir == "" {
			r.Dir = filepath.Join(*f.dir, "issued")
		}
		c, err := a.Issue(r)
		if err != nil {
			return pkiError("issue", err)
		}
		return f.tell(cmd.OutOrStdout(), c)
	}
	return cmd
}

func newPKIRenew() *cobra.Command {
	var f signFlags
	var within int
	cmd := &cobra.Command{
		Use:   "renew KIND NAME | renew ca | renew --expiring-within DAYS",
		Short: "Sign certificates anew for those who have one",
		Long: `Sign a certificate with a new key for a holder who has one, with the same addresses unless
others are given, over the files of the last. The one before stays valid to its own end.

"renew ca" makes a new certificate of the authority itself, with the key that it has, so that
all that it has signed stays valid. Whoever trusts the authority needs the new ca.pem before
the old one expires.

--expiring-within renews the last certificate of each holder, the authority's too, that expires within so
many days. Revoked ones are passed over. Nothing to renew is no error: run it every day.`,
		Example: `  causeway pki renew host a1
  causeway pki renew --expiring-within 30`,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: completeKinds,
	}
	f.register(cmd)
	cmd.Flags().IntVar(&within, "expiring-within", 0, "renew what expires within so many `DAYS`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		isCA := len(args) == 1 && args[0] == "ca"
		all := cmd.Flags().Changed("expiring-within")
		if all == (len(args) > 0) || !all && len(args) != 2 && !isCA {
			return cli.Usagef("give KIND and NAME, or ca, or --expiring-within")
		}
		if all && (within < 1 || len(f.addresses) > 0) {
			return cli.Usagef("--expiring-within wants 1 day or more, and no --address")
		}
		var kind pki.Kind
		var name string
		if len(args) == 2 {
			var err error
			if kind, name, err = holderArgs(args); err != nil {
				return err
			}
		}
		a, err := pki.Open(*f.dir)
		if err != nil {
			return pkiError("renew", err)
		}
		defer a.Close()
		out := cmd.OutOrStdout()
		switch {
		case isCA:
			return pkiError("renew", f.renewCA(cmd, a))
		case all:
			return pkiError("renew", f.renewExpiring(cmd, a, within))
		}
		c, err := a.Renew(f.request(kind, name))
		if err != nil {
			return pkiError("renew", err)
		}
		return f.tell(out, c)
	}
	return cmd
}

// renewCA renews the authority for as long as it was made, unless --days was given.
func (f *signFlags) renewCA(cmd *cobra.Command, a *pki.Authority) error {
	days := f.days
	if !cmd.Flags().Changed("days") {
		days = int(a.Cert().NotAfter.Sub(a.Cert().NotBefore) / (24 * time.Hour))
	}
	if err := a.RenewCA(max(days, 1)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: the authority %s, until %s\n", a.Path(pki.CAFile), a.Cert().Subject.CommonName, a.Cert().NotAfter.Format(time.DateOnly))
	return err
}

func (f *signFlags) renewExpiring(cmd *cobra.Command, a *pki.Authority, within int) error {
	limit := time.Now().AddDate(0, 0, within)
	if a.Cert().NotAfter.Before(limit) {
		if err := f.renewCA(cmd, a); err != nil {
			return err
		}
	}
	for _, c := range a.Last() {
		if c.Revoked != nil || c.Expires.After(limit) {
			continue
		}
		now, err := a.Renew(f.request(c.Kind, c.Name))
		if err != nil {
			return err
		}
		if err := f.tell(cmd.OutOrStdout(), now); err != nil {
			return err
		}
	}
	return nil
}

func newPKIRevoke() *cobra.Command {
	var serial string
	cmd := &cobra.Command{
		Use:   "revoke KIND NAME | revoke --serial NUMBER",
		Short: "Take certificates back",
		Long: `Revoke all certificates of a holder, or the one with a number, and write the revocation
list, crl.pem, anew. It takes effect where the new file is: controllers read it by
--api-tls-crl and --agent-tls-crl, agents by --tls-crl, within seconds after it has changed, and end the
connections that are open.`,
		Example: `  causeway pki revoke host a1
  scp /etc/causeway/pki/crl.pem c1:/etc/causeway/tls/crl.pem`,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: completeKinds,
	}
	dir := pkiDir(cmd)
	cmd.Flags().StringVar(&serial, "serial", "", "`NUMBER` of the certificate, in hexadecimal digits as \"pki list\" has it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (serial == "") != (len(args) == 2) {
			return cli.Usagef("give KIND and NAME, or --serial")
		}
		var kind pki.Kind
		var name string
		var err error
		if len(args) == 2 {
			if kind, name, err = holderArgs(args); err != nil {
				return err
			}
		}
		a, err := pki.Open(*dir)
		if err != nil {
			return pkiError("revoke", err)
		}
		defer a.Close()
		n, what := 0, "number "+serial
		if serial != "" {
			n, err = a.RevokeSerial(serial)
		} else {
			n, err = a.Revoke(kind, name)
			what = string(kind) + " " + name
		}
		if err != nil {
			return pkiError("revoke", err)
		}
		if n == 0 {
			return &cli.Error{What: "pki revoke", Err: fmt.Errorf("%s: there is no certificate that is not revoked", what), Code: cli.ExitNotFound,
				Hint: "\"causeway pki list\" shows all that there are."}
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d revoked; it takes effect where %s is brought to\n", what, n, a.Path(pki.CRLFile))
		return err
	}
	return cmd
}

func newPKIList() *cobra.Command {
	var report reportFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what the authority has signed",
		Args:  cobra.NoArgs,
	}
	dir := pkiDir(cmd)
	report.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := pki.Open(*dir)
		if err != nil {
			return pkiError("list", err)
		}
		defer a.Close()
		type entry struct {
			pki.Certificate
			State string `json:"state"`
		}
		entries, rows := []entry{}, [][]string{}
		for _, c := range a.Issued() {
			state := c.State(time.Now())
			entries = append(entries, entry{c, state})
			rows = append(rows, []string{string(c.Kind), c.Name, strings.Join(c.Addresses, " "), c.Serial, c.Expires.Format(time.DateOnly), state})
		}
		return report.write(cmd.OutOrStdout(), entries, func(w io.Writer) error {
			return cli.Table(w, []string{"Kind", "Name", "Addresses", "Number", "Expires", "State"}, rows)
		})
	}
	return cmd
}
