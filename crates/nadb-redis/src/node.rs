//! A server, and the connections to it that are open.
//!
//! Connections are not asked whether they still work before they are used; one that fails is dropped, and with it all that lie idle,
//! for they have most probably failed, too. A connection that was given up while an answer was due is never used again, so no answer
//! goes to the wrong question.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redis::io::tcp::TcpSettings;
use redis::{
    Connection, ConnectionAddr, ConnectionInfo, ConnectionLike, IntoConnectionInfo, RedisConnectionInfo,
    Value,
};

use crate::failure::Failure;
use crate::options::{Address, RedisOptions};
use crate::scripts::Script;

/// Bytes of several commands that are copied so that they are sent at once.
const TOGETHER_MAX: usize = 64 << 10;

/// Who connects, and how long that and an answer may take.
#[derive(Clone)]
pub(crate) struct Access {
    settings: RedisConnectionInfo,
    client_name: Option<String>,
    connect_timeout: Duration,
    response_timeout: Duration,
    pool: usize,
}

impl Access {
    /// To the servers that hold the data.
    pub(crate) fn to_data(options: &RedisOptions) -> Access {
        let login = (options.user.as_deref(), options.password.0.as_deref());
        Access::new(options, login).with_database(options.database)
    }

    /// To sentinels.
    pub(crate) fn to_sentinels(options: &RedisOptions) -> Access {
        Access::new(options, (options.sentinel_user.as_deref(), options.sentinel_password.0.as_deref()))
    }

    fn new(options: &RedisOptions, (user, password): (Option<&str>, Option<&str>)) -> Access {
        let mut settings = RedisConnectionInfo::default().set_lib_name("nadb", env!("CARGO_PKG_VERSION"));
        if let Some(user) = user {
            settings = settings.set_username(user);
        }
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        Access {
            settings,
            client_name: options.client_name.clone(),
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            pool: options.pool,
        }
    }

    fn with_database(mut self, database: u32) -> Access {
        self.settings = self.settings.set_db(database.into());
        self
    }
}

/// A server.
pub(crate) struct Node {
    pub(crate) address: Address,
    /// The address, for messages.
    pub(crate) name: String,
    access: Access,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    /// Idle or in use.
    open: usize,
}

impl Node {
    pub(crate) fn new(address: Address, access: Access) -> Node {
        let name = address.to_string();
        Node { address, name, access, pool: Mutex::default(), returned: Condvar::new() }
    }

    /// Sends `bytes` and waits for so many answers. What the server answers as an error is an answer.
    pub(crate) fn ask(&self, bytes: &[&[u8]], answers: usize) -> Result<Vec<Value>, Failure> {
        let mut connection = self.take()?;
        let talk = |connection: &mut Connection| {
            match bytes {
                [one] => connection.send_packed_command(one)?,
                // Each sending is a call of the operating system, and a packet of its own; small ones go together.
                all if all.iter().map(|bytes| bytes.len()).sum::<usize>() <= TOGETHER_MAX => {
                    connection.send_packed_command(&all.concat())?;
                }
                all => all.iter().try_for_each(|bytes| connection.send_packed_command(bytes))?,
            }
            (0..answers).map(|_| connection.recv_response()).collect::<redis::RedisResult<Vec<Value>>>()
        };
        match talk(&mut connection) {
            Ok(values) => {
                self.give_back(connection);
                Ok(values)
            }
            Err(error) => {
                drop(connection);
                self.forget();
                Err(Failure::talking(&self.name, &error))
            }
        }
    }

    /// Loads all scripts.
    pub(crate) fn load_scripts(&self) -> Result<(), Failure> {
        let load = |source: &str| redis::cmd("SCRIPT").arg("LOAD").arg(source).get_packed_command();
        let bytes: Vec<Vec<u8>> = Script::sources().map(load).collect();
        let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let answers = self.ask(&bytes, bytes.len())?;
        match answers.into_iter().find(|answer| matches!(answer, Value::ServerError(_))) {
            Some(Value::ServerError(error)) => {
                Err(Failure::NotSent(format!("the server {} took no scripts: {error}", self.name)))
            }
            _ => Ok(()),
        }
    }

    /// Drops the connections that lie idle.
    pub(crate) fn drop_idle(&self) {
        let idle = {
            let mut pool = self.pool.lock();
            pool.open = pool.open.saturating_sub(pool.idle.len());
            std::mem::take(&mut pool.idle)
        };
        self.returned.notify_all();
        drop(idle);
    }

    fn take(&self) -> Result<Connection, Failure> {
        let deadline = Instant::now() + self.access.response_timeout;
        let mut pool = self.pool.lock();
        loop {
            if let Some(connection) = pool.idle.pop() {
                return Ok(connection);
            }
            if pool.open < self.access.pool {
                pool.open += 1;
                drop(pool);
                return self.connect().inspect_err(|_| {
                    self.pool.lock().open -= 1;
                    self.returned.notify_one();
                });
            }
            if self.returned.wait_until(&mut pool, deadline).timed_out() {
                let what = format!("all {} connections to {} are in use", self.access.pool, self.name);
                return Err(Failure::NotSent(what));
            }
        }
    }

    fn give_back(&self, connection: Connection) {
        self.pool.lock().idle.push(connection);
        self.returned.notify_one();
    }

    /// A connection in use failed.
    fn forget(&self) {
        self.pool.lock().open -= 1;
        self.drop_idle();
    }

    fn connect(&self) -> Result<Connection, Failure> {
        let failed = |error: redis::RedisError| Failure::connecting(&self.name, &error);
        let Access { settings, client_name, connect_timeout, response_timeout, .. } = &self.access;
        let client = redis::Client::open(self.info(settings).map_err(failed)?).map_err(failed)?;
        let mut connection = client.get_connection_with_timeout(*connect_timeout).map_err(failed)?;
        connection.set_read_timeout(Some(*response_timeout)).map_err(failed)?;
        connection.set_write_timeout(Some(*response_timeout)).map_err(failed)?;
        if let Some(name) = client_name {
            let command = redis::cmd("CLIENT").arg("SETNAME").arg(name).get_packed_command();
            connection.req_packed_command(&command).map_err(failed)?;
        }
        Ok(connection)
    }

    fn info(&self, settings: &RedisConnectionInfo) -> redis::RedisResult<ConnectionInfo> {
        let address = match &self.address {
            Address::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
            Address::Unix(path) => ConnectionAddr::Unix(path.into()),
        };
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(address.into_connection_info()?.set_redis_settings(settings.clone()).set_tcp_settings(tcp))
    }
}
