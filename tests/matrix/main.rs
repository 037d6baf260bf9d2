//! Fault injection: the command is killed at every call, gets an error at every call, runs concurrently with itself, and meets
//! resources of others. It is the real binary against the sandbox's AWS, through a proxy that injects the faults.
//!
//! `cargo test` runs the named few of each matrix; `cargo test --test matrix -- --include-ignored` runs every point. Words after
//! `--` select cells by name, such as `-- AllocateAddress`. Every cell is in a table, which is printed after its last cell.
//!
//! Several emulators run cells concurrently; they are started once and emptied between cells. No cell depends on time, so the
//! tests run with low priority.

mod account;
mod aws_errors;
mod call;
mod crash;
mod foreign;
mod inventory;
mod permanent_errors;
mod proxy;
mod races;
mod reset;
mod scenario;
mod table;
#[path = "../it/support/times.rs"]
mod times;
mod transient_errors;
mod wanted;
mod wire;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::mpsc;

use account::{Account, Cache};
use proxy::Calls;
use scenario::Outcome;
use table::{Done, Tables};

/// The number of emulators: one more than processors, because commands sometimes wait.
const ACCOUNTS: usize = 3;

/// One cell of a matrix.
pub struct Cell {
    /// Its table.
    pub table: String,
    /// Its row: the point.
    pub row: String,
    /// Its column: the fault.
    pub column: &'static str,
    /// Its test.
    pub work: Work,
}

/// The test of a cell, with an account for it alone.
pub type Work = Box<dyn FnOnce(Arc<Account>) -> BoxFuture<'static, Outcome> + Send>;

/// The part of each matrix that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The named few.
    Few,
    /// Every point.
    All,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Options of the standard harness that run no tests.
    if words.iter().any(|word| word == "--list" || word == "--ignored") {
        return ExitCode::SUCCESS;
    }
    let part = if words.iter().any(|word| word == "--include-ignored") { Part::All } else { Part::Few };
    let words = words.into_iter().filter(|word| !word.starts_with('-')).collect();
    // For all threads and processes from here on. Lowering the priority always succeeds.
    let _ = rustix::process::nice(10);
    tokio::runtime::Runtime::new().unwrap().block_on(run(part, words))
}

async fn run(part: Part, words: Vec<String>) -> ExitCode {
    let began = Instant::now();
    // The first account installs missing packages and builds the release for the others.
    let cache = Arc::new(Cache::new().await);
    let first = Arc::new(Account::start(cache.clone()).await);
    let cells = match cells(&first, part, &words).await {
        Ok(cells) => cells,
        Err(why) => {
            eprintln!("without any fault it does not work either: {why}");
            return ExitCode::FAILURE;
        }
    };
    let mut accounts = vec![first];
    accounts.extend(join_all((1..ACCOUNTS).map(|_| Account::start(cache.clone()))).await.into_iter().map(Arc::new));
    times::note("the matrices: all calls are known, and the emulators run", began.elapsed());
    let mut tables = Tables::of(&cells);
    let queue = Arc::new(Mutex::new(VecDeque::from_iter(cells.into_iter().enumerate())));
    let (told, mut done) = mpsc::unbounded_channel();
    for account in accounts {
        tokio::spawn(work_off(account, queue.clone(), told.clone()));
    }
    // The workers have the other senders. The channel closes after the last worker.
    drop(told);
    while let Some(done) = done.recv().await {
        if let Some(table) = tables.add(done) {
            print!("{table}");
        }
    }
    let (all, wrong) = tables.count();
    println!("\n{}{all} cells, {wrong} of them wrong, in {:.0?}", tables.wrong(), began.elapsed());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The selected cells.
async fn cells(account: &Account, part: Part, words: &[String]) -> Result<Vec<Cell>, String> {
    let mut cells = reset::cells();
    for scenario in scenario::ALL {
        // The named few need no list of all calls. The first run also builds the release for all accounts.
        let calls = match part == Part::All || scenario == scenario::Scenario::Up {
            true => scenario.calls(account).await.map_err(|why| format!("{}: {why}", scenario.title()))?,
            false => Calls::default(),
        };
        cells.extend(crash::cells(scenario, &calls, part));
        cells.extend(transient_errors::cells(scenario, &calls, part));
        cells.extend(permanent_errors::cells(scenario, &calls, part));
    }
    cells.extend(races::cells(part));
    cells.extend(foreign::cells());
    cells.retain(|cell| {
        let name = format!("{}: {}, {}", cell.table, cell.row, cell.column);
        words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    });
    Ok(cells)
}

/// Runs cells until none is left. The account ends before its worker.
async fn work_off(
    account: Arc<Account>,
    queue: Arc<Mutex<VecDeque<(usize, Cell)>>>,
    told: mpsc::UnboundedSender<Done>,
) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((number, Cell { table, row, column, work })) = next else { break };
        let began = Instant::now();
        // In its own task, so that a panic fails only this cell.
        let outcome = tokio::spawn(work(account.clone())).await.unwrap_or_else(|error| Err(error.to_string()));
        let took = began.elapsed();
        times::note(&format!("{table}: {row}, {column}"), took);
        // The receiver lives until all workers have ended.
        let _ = told.send(Done { number, table, row, column, outcome, took });
    }
    drop(account);
    drop(told);
}
