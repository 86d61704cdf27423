package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/causeway-net/causeway/test/process"
)

// Debian's own Python, whatever else is on PATH: it has Neutron.
const python = "/usr/bin/python3"

// workers is the number of Neutron's API processes.
const workers = 2

// database is a private MariaDB on a unix socket, with its defaults for
// durability: each commit is synced.
type database struct {
	process *process.Process
	socket  string
}

func startDatabase(ctx context.Context, dir, sockets string) (*database, error) {
	data := filepath.Join(dir, "db")
	install := exec.CommandContext(ctx, "mariadb-install-db", "--no-defaults", "--datadir="+data, "--user=root",
		"--auth-root-authentication-method=normal", "--skip-test-db")
	if out, err := install.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	d := &database{socket: filepath.Join(sockets, "db.sock")}
	var err error
	if d.process, err = process.Start(exec.Command("mariadbd", "--no-defaults", "--datadir="+data, "--user=root",
		"--socket="+d.socket, "--skip-networking", "--pid-file="+filepath.Join(sockets, "db.pid"), "--innodb-buffer-pool-size=512M"),
		filepath.Join(dir, "mariadb.log")); err != nil {
		return nil, err
	}
	err = process.Poll(ctx, 20*time.Millisecond, time.Minute, "MariaDB", func() (bool, error) {
		if err := d.process.Ended(); err != nil {
			return false, err
		}
		c, err := net.Dial("unix", d.socket)
		if err != nil {
			return false, nil
		}
		return true, c.Close()
	})
	if err == nil {
		_, err = d.sql(ctx, "mysql", "CREATE DATABASE neutron CHARACTER SET utf8")
	}
	if err != nil {
		return nil, errors.Join(err, d.process.Stop())
	}
	return d, nil
}

// sql runs statements and returns the rows as lines.
func (d *database) sql(ctx context.Context, schema, statements string) (string, error) {
	cmd := exec.CommandContext(ctx, "mariadb", "--no-defaults", "--user=root", "--socket="+d.socket, "--batch", "--skip-column-names", schema)
	cmd.Stdin = strings.NewReader(statements)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("sql: %w: %s", err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// startNeutron starts Neutron's server with ML2 and its routers, two API workers
// and no agents. pkg has the unpacked package with its programs: installing it would
// add users and a database, unpacking starts nothing and changes nothing.
func startNeutron(ctx context.Context, pkg, dir string) (_ *target, err error) {
	if pkg, err = filepath.Abs(pkg); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		return nil, err
	}
	// A socket's path is short, wherever the disk to measure on is.
	sockets, err := os.MkdirTemp("", "cw-bench-api-")
	if err != nil {
		return nil, err
	}
	closers := []func() error{func() error { return os.RemoveAll(sockets) }}
	closeAll := func() error {
		var err error
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	db, err := startDatabase(ctx, dir, sockets)
	if err != nil {
		return nil, err
	}
	closers = append(closers, db.process.Stop)
	addr, err := process.FreePort()
	if err != nil {
		return nil, err
	}
	config, err := neutronConfig(pkg, dir, db.socket, addr)
	if err != nil {
		return nil, err
	}
	migrate := exec.CommandContext(ctx, python, filepath.Join(pkg, "usr/bin/neutron-db-manage"), "--config-file", config, "upgrade", "heads")
	if out, err := migrate.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("neutron-db-manage: %w\n%s", err, out)
	}
	server, err := process.Start(exec.Command(python, filepath.Join(pkg, "usr/bin/neutron-server"), "--config-file", config), filepath.Join(dir, "neutron.log"))
	if err != nil {
		return nil, err
	}
	closers = append(closers, server.Stop)
	if err := server.Answers(ctx, 50*time.Millisecond, "http://"+addr+"/"); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, server.Tail())
	}
	t := &target{name: "Neutron", api: newAPI(addr), close: closeAll,
		seeding: "rows in its tables, copied from one made by the API"}
	t.fill = func(ctx context.Context, total int) error { return db.fill(ctx, t, total) }
	return t, t.prepare(ctx, "10.0.0.0/16")
}

func neutronConfig(pkg, dir, socket, addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf(`[DEFAULT]
auth_strategy = noauth
core_plugin = ml2
service_plugins = router
transport_url = fake://
bind_host = %s
bind_port = %s
api_workers = %d
rpc_workers = 0
rpc_state_report_workers = 0
state_path = %s
api_paste_config = %s
dhcp_agent_notification = false
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
connection = mysql+pymysql://root@/neutron?unix_socket=%s&charset=utf8
[oslo_concurrency]
lock_path = %s
[ml2]
type_drivers = vxlan
tenant_network_types = vxlan
mechanism_drivers = openvswitch
extension_drivers = port_security
[ml2_type_vxlan]
vni_ranges = 1:10000
`, host, port, workers, filepath.Join(dir, "state"), filepath.Join(pkg, "usr/share/neutron-common/api-paste.ini"), socket, filepath.Join(dir, "state"))
	path := filepath.Join(dir, "neutron.conf")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// fill copies the rows of one port that the API made: the API itself would take
// some ten minutes for 10,000. Addresses from 10.0.128.0 on are the copies'.
func (d *database) fill(ctx context.Context, t *target, total int) error {
	have, err := d.sql(ctx, "neutron", "SELECT COUNT(*) FROM ports")
	if err != nil {
		return err
	}
	var count int
	if _, err := fmt.Sscan(have, &count); err != nil {
		return err
	}
	if count == 0 {
		if _, err := t.createPort(ctx); err != nil {
			return err
		}
		count = 1
	}
	if count >= total {
		return nil
	}
	_, err = d.sql(ctx, "neutron", fmt.Sprintf(copyPorts, count, total-1))
	return err
}

// copyPorts has every row that Neutron 21 with ML2 and port security writes for a
// port on creation.
const copyPorts = `
SET @from = %d, @to = %d;
SET @port = (SELECT port_id FROM ipallocations ORDER BY port_id LIMIT 1);
SET @attr = (SELECT standard_attr_id FROM ports WHERE id = @port);
SET @base = (SELECT MAX(id) FROM standardattributes);
CREATE TEMPORARY TABLE copies AS
  SELECT UUID() AS id, @base + 1 + seq AS attr, CONCAT('10.0.', 128 + seq DIV 250, '.', 1 + seq MOD 250) AS ip,
    CONCAT('fa:16:3f:', LPAD(HEX(seq DIV 65536), 2, '0'), ':', LPAD(HEX(seq DIV 256 MOD 256), 2, '0'), ':', LPAD(HEX(seq MOD 256), 2, '0')) AS mac
  FROM seq_0_to_100000 WHERE seq BETWEEN @from AND @to;
START TRANSACTION;
INSERT INTO standardattributes (id, resource_type, created_at, updated_at, description, revision_number)
  SELECT c.attr, s.resource_type, s.created_at, s.updated_at, s.description, s.revision_number FROM standardattributes s, copies c WHERE s.id = @attr;
INSERT INTO ports (project_id, id, name, network_id, mac_address, admin_state_up, status, device_id, device_owner, standard_attr_id, ip_allocation)
  SELECT p.project_id, c.id, p.name, p.network_id, LOWER(c.mac), p.admin_state_up, p.status, p.device_id, p.device_owner, c.attr, p.ip_allocation FROM ports p, copies c WHERE p.id = @port;
INSERT INTO ipallocations (port_id, ip_address, subnet_id, network_id)
  SELECT c.id, c.ip, a.subnet_id, a.network_id FROM ipallocations a, copies c WHERE a.port_id = @port;
INSERT INTO ipamallocations (ip_address, status, ipam_subnet_id)
  SELECT c.ip, 'ALLOCATED', i.id FROM ipallocations a JOIN ipamsubnets i ON i.neutron_subnet_id = a.subnet_id, copies c WHERE a.port_id = @port;
INSERT INTO ml2_port_bindings (port_id, host, vif_type, vnic_type, profile, vif_details, status)
  SELECT c.id, b.host, b.vif_type, b.vnic_type, b.profile, b.vif_details, b.status FROM ml2_port_bindings b, copies c WHERE b.port_id = @port;
INSERT INTO portsecuritybindings (port_id, port_security_enabled)
  SELECT c.id, b.port_security_enabled FROM portsecuritybindings b, copies c WHERE b.port_id = @port;
INSERT INTO securitygroupportbindings (port_id, security_group_id)
  SELECT c.id, b.security_group_id FROM securitygroupportbindings b, copies c WHERE b.port_id = @port;
COMMIT;
`
